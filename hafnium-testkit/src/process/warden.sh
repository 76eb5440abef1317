# Outlives the test process: standard input ends when that ends, in whatever way. Then nothing may be left of what was
# started in "$directory".
trap '' INT TERM HUP
read -r _
# Servers and all their descendants work in the directory, also those that left their parent's group and session, and a
# frozen one that did not notice its parent's death.
n=0
while members=$(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$directory*" 2>/dev/null); [ -n "$members" ]; do
  for link in $members; do
    pid=${link#/proc/}
    kill -9 "${pid%/cwd}" 2>/dev/null
  done
  n=$((n + 1))
  [ $n -lt 100 ] || break
  sleep 0.02
done
# A killed postmaster leaves a 56-byte System V segment behind that locks its data directory; the kernel holds at most
# 4096 of them. Its id is the second word of line 7.
for pid_file in "$directory"/*/postmaster.pid; do
  [ -f "$pid_file" ] && set -- $(sed -n 7p "$pid_file") && [ -n "$2" ] && ipcrm -m "$2" 2>/dev/null
done
rm -rf -- "$directory"
