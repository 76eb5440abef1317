# Outlives the test process: told of processes ("pid start-time" per line) on standard input, it waits for its end,
# which comes when the test process ends in whatever way, then kills those that still live and removes the directory.
trap '' INT TERM HUP
told=
while read -r pid start; do told="$told $pid:$start"; done
for each in $told; do
  stat=$(cat "/proc/${each%%:*}/stat" 2>/dev/null) || continue
  set -- ${stat##*) }
  [ "${20}" = "${each##*:}" ] && kill -9 "${each%%:*}" 2>/dev/null
done
n=0
until rm -rf -- "$directory" 2>/dev/null || [ $n -ge 50 ]; do n=$((n + 1)); sleep 0.1; done
