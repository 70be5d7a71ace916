# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# From the results of all runs of a case to its record. See bench.sh.

def digits($n): . * $n | round / $n;
def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;

# What not every contender tells is left out.
def optional($key; f):
    map(.[$key] // empty) | if length > 0 then { ($key): f } else {} end;

def summary($name):
    map(select(.name == $name)) | map(.seconds) as $seconds |
    ($seconds | median) as $median | (.[0].bytes // $bytes) as $bytes |
    { $name, $seconds, median: ($median | digits(100000)),
      spread: ((($seconds | max) - ($seconds | min)) / $median |
               digits(100)) } +
    if $bytes then
        { $bytes, mb_per_s: ($bytes / 1e6 / $median | digits(10)) }
    else {} end +
    optional("cpu_seconds"; median | digits(10000)) +
    optional("reader_cpu_seconds"; median | digits(10000)) +
    optional("peak_kib"; max);

def cpu_ratio:
    if .ours.cpu_seconds and .other.cpu_seconds then
        { cpu_ratio: (.ours.cpu_seconds / .other.cpu_seconds | digits(100)) }
    else {} end;

def compare:
    { ours: .[0], other: (.[1:] | min_by(.median)) } as $pair | $pair +
    { ratio: ($pair.other.median / $pair.ours.median | digits(100)) } +
    ($pair | cpu_ratio) +
    (map(select(.name != "ours" and .name != $pair.other.name)) |
        if length > 0 then { further: . } else {} end);

. as $results | ($names | split(" ")) as $names |
($names | map(. as $name | $results | summary($name))) as $contenders |
{ $case, $options, $bytes, runs: ($contenders[0].seconds | length) } +
if $names[0] == "ours" then $contenders | compare
else { points: $contenders } end +
{ $machine, $qemu, $kernel, $cpus, $date }
