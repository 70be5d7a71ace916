# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# From records, as an object by case, to the tables and the data of the
# pictures that report.sh makes.

# What we want a case to show; see docs/performance.md.
def goals: {
    "save-ring": { of: "ratio", at_least: 0.9 },
    "save-guest": { of: "ratio", at_least: 3 },
    "load-guest": { of: "ratio", at_least: 4 },
    "load-stream": { of: "cpu_ratio", at_most: 1.3 },
    "load-fio": { of: "ratio", at_least: 0.9 },
    "load-cached": { of: "ratio", at_least: 0.85 },
    "load-depth-delayed": { of: "ratio", at_least: 6 },
    "save-indexed": { of: "ratio", at_least: 0.95 },
    "inspect-indexed": { of: "seconds", at_most: 0.05 },
    "list-cold": { of: "seconds", at_most: 0.01 },
    "list-warm": { of: "seconds", at_most: 0.01 },
    "inspect-cold": { of: "seconds", at_most: 0.01 },
    "inspect-warm": { of: "seconds", at_most: 0.01 },
    "create-1t": { of: "ratio", at_least: 1.5 },
    "delete-1t": { of: "ratio", at_least: 1.5 }
};

def compared: to_entries | map(.value | select(.ours));

# ---------------------------------------------------------------------------
# Tables

def seconds:
    if . < 0.1 then "\(. * 10000 | round / 10) ms"
    else "\(. * 1000 | round / 1000) s" end;

def percent: "\(. * 100 | round) %";

def rate: if .mb_per_s then ", \(.mb_per_s | round) MB/s" else "" end;

def contender: "\(.median | seconds)\(rate) ± \(.spread / 2 | percent)";

def verdict:
    goals[.case] as $goal |
    { ratio, cpu_ratio, seconds: .ours.median } as $values |
    if $goal == null then "" else
        $values[$goal.of] as $value |
        if $goal.at_least then
            [ "≥ \($goal.at_least)", $value >= $goal.at_least ]
        elif $goal.of == "seconds" then
            [ "≤ \($goal.at_most | seconds)", $value <= $goal.at_most ]
        else
            [ "CPU ≤ \($goal.at_most)", $value <= $goal.at_most ]
        end | "\(.[0])\(if .[1] then " ✓" else " ✗" end)"
    end;

def row: "| " + join(" | ") + " |";

def comparison_table:
    [ "case", "qemu-snap", "beside it", "", "times as fast", "CPU, times",
      "goal" ],
    [ "---", "---:", "---", "---:", "---:", "---:", "---" ],
    (compared[] |
        [ "`\(.case)`", (.ours | contender), .other.name,
          (.other | contender), "**\(.ratio)**", "\(.cpu_ratio // "")",
          verdict ]) | row;

def ways_table:
    [ "way", "MB/s", "CPU of the writer, s/GB", "of the reader" ],
    [ "---", "---:", "---:", "---:" ],
    (.points[] | (.bytes / 1e9) as $gb |
        [ .name, "\(.mb_per_s | round)",
          "\(.cpu_seconds / $gb * 100 | round / 100)",
          "\(.reader_cpu_seconds / $gb * 100 | round / 100)" ]) | row;

# One row for each point of two records over the same points.
def pairs($a; $b):
    [ $a.points, ($b.points // []) ] | transpose[];

def depth_table($direct; $delayed):
    [ "depth", "cold disk, MB/s", "1 ms more per read, MB/s" ],
    [ "---:", "---:", "---:" ],
    (pairs($direct; $delayed) |
        [ .[0].name, "\(.[0].mb_per_s | round)",
          "\(.[1].mb_per_s // "" | if . == "" then . else round end)" ]) | row;

def peak: "\(.peak_kib / 1024 * 10 | round / 10) MiB";

def size_table($save; $load):
    [ "stream", "save", "peak memory", "load", "peak memory" ],
    [ "---:", "---:", "---:", "---:", "---:" ],
    (pairs($save; $load) | select(.[1] != null) |
        [ "\(.[0].bytes / 1e6 | round) MB", (.[0] | contender),
          (.[0] | peak), (.[1] | contender), (.[1] | peak) ]) | row;

def origin:
    [ .[] | .machine, .kernel, .qemu ] | unique | join("; ");

def dates: [ .[].date[:10] ] | unique | join(", ");

def run_counts: [ .[].runs ] | unique | map(tostring) | join(" or ");

def section($title; rows): "", "**\($title)**", "", rows;

def tables:
    "", "Measured on \(dates); \(origin). Medians of \(run_counts) runs in " +
    "turns, ± half the distance between the fastest and the slowest.",
    section("Contenders side by side"; comparison_table),
    (.pipe // empty | section("Ways into a pipe"; ways_table)),
    (select(.["load-by-depth"]) |
        section("Load by the depth of the ring";
                depth_table(.["load-by-depth"];
                            .["load-by-depth-delayed"]))),
    (select(.["save-by-size"] and .["load-by-size"]) |
        section("By the size of the stream";
                size_table(.["save-by-size"]; .["load-by-size"]))),
    "";

# ---------------------------------------------------------------------------
# Data of pictures: columns with a tab between. A rate is three: of the median,
# the slowest and the fastest run.

def rates: .bytes as $bytes |
    [ .median, (.seconds | max), (.seconds | min) ] | map($bytes / 1e6 / .);

def rates_of_contenders:
    compared[] | select(.ours.bytes) |
    [ .case ] + (.ours | rates) + [ .other.name ] + (.other | rates) | @tsv;

def rates_by_depth:
    select(.["load-by-depth"] and .["load-by-depth-delayed"]) |
    pairs(.["load-by-depth"]; .["load-by-depth-delayed"]) |
    [ .[0].name ] + (.[0] | rates) + (.[1] | rates) | @tsv;

def transfers_by_size:
    def transfer:
        [ .median, (.seconds | min), (.seconds | max), .peak_kib / 1024 ];
    select(.["save-by-size"] and .["load-by-size"]) |
    pairs(.["save-by-size"]; .["load-by-size"]) |
    [ .[0].bytes / 1e9 ] + (.[0] | transfer) + (.[1] | transfer) | @tsv;
