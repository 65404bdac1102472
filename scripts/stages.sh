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

# Prints the table and ends the script.
finish() {
  printf '\n%-22s %8s %10s\n' stage seconds processor
  printf '%s\n' "${table[@]}"
  printf '%-22s %8d\n' "all together" "$SECONDS"
  exit $failed
}
