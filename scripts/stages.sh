# For scripts that run stages, each of them one preset or program, and say what each took: seconds by the clock and
# of the processors. A stage that fails does not stop the later ones; the script says which of them need it.
table=()
failed=0
TIMEFORMAT='%0R %0U %0S'

# stage NAME COMMAND...
stage() {
  local name=$1 times seconds user system status result=passed
  shift
  echo "==== $name: $*"
  { times=$({ time "$@" 1>&3 2>&4; } 2>&1); status=$?; } 3>&1 4>&2
  read -r seconds user system <<< "$times"
  if [ $status -ne 0 ]; then result=FAILED failed=1; fi
  table+=("$(printf '%-22s %8d %10d  %s' "$name" "$seconds" $((user + system)) "$result")")
  return $status
}

# Begins a command that gets the time that the stages after it leave; `stage NAME ended NAME` waits for its end.
# beside NAME COMMAND...
beside() {
  local name=$1
  shift
  mkdir -p build
  rm -f "build/$name.status"
  echo "==== $name, beside what follows: $*"
  (nice -n 19 "$@" > "build/$name.log" 2>&1 < /dev/null; echo $? > "build/$name.status") &
}

ended() {
  while [ ! -s "build/$1.status" ]; do sleep 0.2; done
  cat "build/$1.log"
  return "$(cat "build/$1.status")"
}

# Prints the table and ends the script.
finish() {
  printf '\n%-22s %8s %10s\n' stage seconds processor
  printf '%s\n' "${table[@]}"
  printf '%-22s %8d\n' "all together" "$SECONDS"
  exit $failed
}
