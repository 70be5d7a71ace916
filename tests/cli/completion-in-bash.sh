#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# SPDX-FileCopyrightText: The qemu-snap authors
#
# What a bash at a terminal makes of what is typed, a tab included: names with
# characters that are special to it, or make new words, arrive as they are.

# What is typed is not expanded here.
# shellcheck disable=SC2016

. "$(dirname "$0")/../functions.sh"

requires script
new_image disk.qcow2 1M
for name in 12:30:00 12:45 'two words' 'colon: blank' 'a"b' "it's" eq=al \
    who@here 'r&s;t' '$HOME' 'b\c'; do
    qemu-img snapshot -c "$name" disk.qcow2
done

# A stand-in that tells its arguments, and knows what the completion asks for.
mkdir bin
cat > bin/qemu-snap << END
#!/bin/bash
case " \$* " in
*' --help '* | *' list '*)
    exec $(printf '%q' "$QEMU_SNAP") "\$@"
    ;;
esac
printf '%s\n' "\${@: -1}" >> $(printf '%q' "$SCRATCH")/typed
END
chmod +x bin/qemu-snap
: > typed
mkfifo keys
PATH=$SCRATCH/bin:$PATH TERM=dumb INPUTRC=/dev/null script -q \
    -c 'bash --norc --noprofile -i' /dev/null < keys > terminal 2>&1 &
pid=$!
on_exit "kill $pid 2>/dev/null"
exec 8> keys
printf 'unset HISTFILE; . %q\n' "$TOP/completion/qemu-snap" >&8

lines=0
has_typed()
{
    [ "$(wc -l < typed)" -ge $lines ]
}

# becomes EXPECTED KEYS: how the last word arrives, in which \t is a tab.
becomes()
{
    printf '%b\n' "qemu-snap load disk.qcow2 $2" >&8
    lines=$((lines + 1))
    wait_until "$PATIENCE" has_typed || fail "nothing came of '$2'"
    [ "$(tail -n 1 typed)" = "$1" ] ||
        fail "'$2' became '$(tail -n 1 typed)', not '$1'"
}

becomes 12:30:00 '-n 12:3\t'
becomes 12:30:00 '-n 12:30:\t'
becomes 12:30:00 '-n 1\t3\t'
becomes --name=12:45 '--name=12:4\t'
becomes 'colon: blank' '-n c\t'
becomes 'colon: blank' '-n colon:\t'
becomes 'colon: blank' "-n 'colon: \t"
becomes 'two words' '-n two\\ w\t'
becomes 'two words' '-n "two w\t'
becomes 'a"b' '-n "a\t'
becomes "it's" '-n "it\t'
becomes --name=eq=al '--name=eq=\t'
becomes who@here '-n who@\t'
becomes 'r&s;t' '-n r\t'
becomes 'r&s;t' '-n "r&\t'
becomes '$HOME' "-n '\$\t"
becomes '$HOME' '-n "\\$H\t'
becomes 'b\c' '-n b\t'
becomes --cache=none '--cac\tnon\t'
printf 'exit\n' >&8
exec 8>&-
wait $pid
