# A client in twenty lines: from the frames that `tidegate query --json` prints to the list as it is after the last.
# What /v1/live says of indices is all there is to know: each means the list as the frames before left it.
function number(name) {
  return match($0, "\"" name "\":-?[0-9]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : -1
}
function text(name, pattern) {
  return match($0, "\"" name "\":" pattern) ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : ""
}
{
  op = text("op", "\"[a-z]+\""); from = number("old_index"); to = number("new_index")
  if (op == "\"reset\"") count = 0
  if (op ~ /leave|move|update/) { count--; for (i = from; i < count; i++) list[i] = list[i + 1] }
  if (op ~ /enter|move|update/) { for (i = count++; i > to; i--) list[i] = list[i - 1]; list[to] = text("row", "[{][^}]*[}]") }
}
END { for (i = 0; i < count; i++) print list[i] }
