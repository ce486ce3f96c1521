#!/bin/sh
# Verify an archive of runs with sh, coreutils, jq (1.6) and ssh-keygen (OpenSSH 9.1), nothing else.
#
#     sh verify.sh [--signers FILE] [--witness FILE]
#
#   --signers FILE   a reviewed copy of allowed_signers, in place of the archive's own
#   --witness FILE   heads kept where the operator cannot write: [{"principal", "seq", "head"}, ...]
#
# Prints what is wrong, one line each. Exit status: 0 all is as it was written; 1 something was
# altered, dropped, added or replaced; 2 it cannot be said: a run was never closed or is not signed.
set -u
LC_ALL=C
export LC_ALL
here=$PWD
signers=allowed_signers
witness=
script=$0

usage() {
  echo "usage: sh verify.sh [--signers FILE] [--witness FILE]" >&2
  exit 64
}

absolute() {
  case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$here/$1" ;; esac
}

while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage
  case $1 in
    --signers) signers=$(absolute "$2") ;;
    --witness) witness=$(absolute "$2") ;;
    *) usage ;;
  esac
  shift 2
done

cd "$(dirname "$script")" || exit 64
[ -d ledger ] || { echo "there is no ledger beside $script" >&2; exit 64; }
[ -f "$signers" ] || { echo "there is no $signers" >&2; exit 64; }
work=$(mktemp -d) || exit 64
trap 'rm -rf "$work"' EXIT
trap 'exit 64' HUP INT TERM
revoked=
[ -f revoked_keys ] && revoked=revoked_keys
mkdir "$work/closed"
tab=$(printf '\t.')
tab=${tab%.}
newline='
'

# Prints digest and name of every file below a folder; of what is no plain file, 64 zeros.
list() (
  folder=$1
  set --
  for entry in "$folder"/* "$folder"/.[!.]* "$folder"/..?*; do
    if [ -d "$entry" ] && [ ! -h "$entry" ]; then
      list "$entry"
    elif [ -e "$entry" ] || [ -h "$entry" ]; then
      case $entry in *"$newline"* | *"$tab"* | *\\*) odd=yes ;; *) odd= ;; esac
      if [ -f "$entry" ] && [ ! -h "$entry" ] && [ ! "$odd" ]; then
        set -- "$@" "$entry"
      else
        printf '%064d  %s' 0 "$entry" | tr '\n\t\\' '???'
        echo
      fi
    fi
  done
  [ $# = 0 ] || sha256sum "$@"
)

# Prints one fact in one line: its kind, what it is about, and the JSON in a file.
fact() {
  printf '%s\t%s\t' "$1" "$2"
  tr -d '\n' <"$3"
  echo
}

# signed FILE SIGNATURE NAMESPACE PRINCIPAL TIME: prints "key SHA256:..." or what is wrong.
signed() {
  if [ ! -f "$2" ]; then
    echo missing
  elif said=$(ssh-keygen -Y verify -n "$3" -I "$4" -f "$signers" -s "$2" -O "verify-time=$5" \
    ${revoked:+-r "$revoked"} <"$1" 2>&1); then
    printf 'key %s\n' "${said##* }"
  else
    printf 'ssh-keygen refuses it: %s' "$said" | tr '\n\t' '  '
  fi
}

# signed_by_itself FILE NAMESPACE WHAT: as signed, of whom and when the file says.
signed_by_itself() {
  if jq -r '.by, (.at // .time | .[:19] | gsub("[-T:]"; "")) + "Z"' "$1" >"$work/by" 2>"$work/said" &&
    { read -r by && read -r at; } <"$work/by"; then
    signed "$1" "$1.sig" "$2" "$by" "$at"
  else
    echo "not $3"
  fi
}

# 1. The ledgers: digest and content of every line; which runs they have closed, by whom and when.
for file in ledger/*.jsonl; do
  [ -f "$file" ] || continue
  name=${file#ledger/}
  name=${name%.jsonl}
  printf 'G\t%s\t%s\n' "$name" "$([ -z "$(tail -c 1 "$file")" ] || echo cut)"
  while IFS= read -r line; do
    sum=$(printf '%s' "$line" | sha256sum)
    printf 'L\t%s\t%s%s\n' "$name" "${sum%% *}" "$line"
  done <"$file"
done >"$work/facts"
jq -R -r 'select(.[:1] == "L") | split("\t")[2][64:] | try fromjson catch null
  | try select(.event == "closed" and (.time | test("^[0-9T:-]{19}[0-9.]*Z$"))) catch empty
  | [.run_id, .operator, (.time[:19] | gsub("[-T:]"; "")) + "Z"] | @tsv' "$work/facts" |
  while IFS=$tab read -r run operator time; do
    case $run in *[!A-Za-z0-9._-]* | .* | '') continue ;; esac
    [ -e "$work/closed/$run" ] || printf '%s\n%s\n' "$operator" "$time" >"$work/closed/$run"
  done

# 2. The runs: digests of their files, their statements, and whether these are signed.
: >"$work/files"
for folder in */ .spool-*/; do
  folder=${folder%/}
  [ -d "$folder" ] || continue
  case $folder in
    ledger | anchors | approvals) continue ;;
    *"$newline"* | *"$tab"* | *\\*) printf 'R\t%s' "$folder" | tr '\n\\' '??' && echo && continue ;;
  esac
  run=${folder#.spool-}
  run=${run%-killed}
  printf 'R\t%s\n' "$folder"
  list "$folder" >>"$work/files"
  statement=$folder/statement.json
  if [ -f "$statement" ] && [ ! -h "$statement" ]; then
    said='no ledger has closed it'
    if [ -f "$work/closed/$run" ]; then
      { read -r operator && read -r time; } <"$work/closed/$run"
      said=$(signed "$statement" "$statement.sig" runbook-record "$operator" "$time")
    fi
    printf 'V\t%s\t%s\n' "$folder" "$said"
    fact S "$folder" "$statement"
    if [ -f "$folder/statement.dsse.json" ]; then
      printf 'P\t%s\t%s\n' "$folder" "$(jq -R -s -r @base64 "$statement")"
      fact D "$folder" "$folder/statement.dsse.json"
    fi
  fi
  if [ -f "$folder/approval.json" ]; then
    printf 'W\t%s\t%s\n' "$folder" \
      "$(signed_by_itself "$folder/approval.json" runbook-approval 'an approval')"
    fact A "$folder" "$folder/approval.json"
  fi
done >>"$work/facts"

# 3. The anchors, and what was told from outside.
for file in anchors/*.json; do
  [ -f "$file" ] || continue
  printf 'N\t%s\t%s\n' "$file" "$(signed_by_itself "$file" runbook-anchor 'an anchor')"
  fact M "$file" "$file"
done >>"$work/facts"
[ ! -f export.json ] || fact X export.json export.json >>"$work/facts"
[ ! "$witness" ] || fact T witness "$witness" >>"$work/facts" || exit 64

# 4. The judgement.
jq -n -r --rawfile facts "$work/facts" --rawfile files "$work/files" '
def key: if startswith("key SHA256:") then .[4:] else "" end;
def time: test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9.]+Z$");
def finding($rank; $where; $what): {$rank, $where, $what};
def bad($where; $what): finding(0; $where; $what);
def place($principal; $index): "ledger/\($principal).jsonl:\($index + 1)";

# What is wrong with a chain by itself.
def chain: . as {$principal, $lines, $cut}
  | ([$lines[].line | select(. != null) | .seq]) as $seqs
  | reduce range($lines | length) as $i ({due: 0, found: []};
      .due as $due | $lines[$i].line as $line | place($principal; $i) as $where
      | if $line == null then .found += [bad($where; "not a line of a ledger")] | .due += 1
        else
          (if $line.operator != $principal
            then .found += [bad($where; "a line of \($line.operator), not of this ledger")]
            else . end)
          | (if $line.seq != $due
              then "(seq \($line.seq) where \($due) is due)" as $seq
                | (if $line.seq > $due and all($seqs[]; . < $due or . >= $line.seq)
                    then "dropped before it: \($line.seq - $due) \($seq)"
                    else "out of order or repeated \($seq)" end) as $what
                | .found += [bad($where; $what)]
            elif $i == 0 and $line.prev != "0" * 64 then .found += [bad($where; "not the first line")]
            elif $i > 0 and $line.prev != $lines[$i - 1].sha
              then .found += [bad(place($principal; $i - 1); "altered after the next line was written")]
            else . end)
          | .due = $line.seq + 1
        end)
  | .found[], if $cut then finding(1; place($principal; $lines | length); "the line is cut off")
      else empty end;

# What is wrong with the folder of a closed run.
def subject($closed; $redacted): . as {$folder, $files}
  | (.statement.subject | map({key: .name, value: .digest.sha256}) | from_entries) as $named
  | ["statement.json", "statement.json.sig", "statement.dsse.json"] as $own
  | ($named | keys[] | select(in($files) | not)
      | bad("\($folder)/\(.)"; "dropped: the statement names it")),
    ($files | keys[] | select(IN($own[]) | not) | select(in($named) | not)
      | bad("\($folder)/\(.)"; "added: the statement does not name it")),
    ($files | to_entries[] | select(.value == "0" * 64)
      | bad("\($folder)/\(.key)"; "replaced by something that is no plain file")),
    ($files | to_entries[] | select(.value != "0" * 64) | select(.key | in($named))
      | . as {key: $name, value: $seen}
      | reduce ($redacted[] | select(.line.file == $name)) as $it ({sha: $named[$name], by: null};
          if .sha != $seen and $it.line.old_sha256 == .sha
            then {sha: $it.line.new_sha256, by: $it} else . end)
      | if .sha != $seen
          then bad("\($folder)/\($name)"; "altered: it is not the file that the statement names")
        elif .by
          then finding(2; "\($folder)/\($name)";
            "redacted: superseded by \(.by.where): \(.by.line.reason)")
        else empty end);

def approval: . as {$folder, $approval} | "\($folder)/approval.json" as $where
  | .statement.predicate as $told | $told.started as $at
  | if .files["approval.json"] == null
      then if $told.approval.kind? == "pre" then bad($where; "missing: the statement tells of it")
        else empty end
    elif [$approval | try (.by, .at, .expires, .plan_sha256) catch null | type | select(. != "string")] != []
        or ([$approval.at, $approval.expires | time] | all | not)
      then bad($where; "not an approval")
    else
      (if $approval.plan_sha256 != $told.plan_sha256
        then bad($where; "wrong plan: it approves \($approval.plan_sha256)") else empty end),
      (if $approval.by == $told.operator.principal
        then bad($where; "self-approved: \($approval.by) is the operator") else empty end),
      (if .approver == "" then bad("\($where).sig"; .approved)
        elif .approver == .signer and $approval.by != $told.operator.principal
          then bad($where; "self-approved: \($approval.by) signs with the operator\u0027s key")
        else empty end),
      (if $at and $at < $approval.at
        then bad($where; "it is of \($approval.at), after \($at)") else empty end),
      (if $at and $at > $approval.expires
        then bad($where; "it expired at \($approval.expires), before \($at)") else empty end)
    end;

# Records had a DSSE envelope once. It holds the statement, and nothing else that anybody could read.
def envelope: select(.envelope and (.envelope | capture(
      "\\A\\{ \"payload\": \"(?<payload>[^\"]*)\", \"payloadType\": \"application/vnd\\.in-toto\\+json\","
      + " \"signatures\": \\[  \\{   \"keyid\": \"SHA256:[A-Za-z0-9+/]{43}\","
      + "   \"sig\": \"[A-Za-z0-9+/]{86}==\"  \\} \\]\\}\\z") // {}).payload != .payload)
  | bad("\(.folder)/statement.dsse.json"; "not an envelope of statement.json alone");

def digest($name; $due; $what; $closed): .folder as $folder | .files[$name] as $seen
  | if $due == null
      then if $seen then bad("\($folder)/\($name)"; "added: \($closed.where) names none") else empty end
    elif $seen == null then bad("\($folder)/\($name)"; "missing: \($closed.where) names it")
    elif $seen != $due then bad("\($folder)/\($name)"; "not the \($what) that \($closed.where) names")
    else empty end;

def run($closed; $redacted): . as {$folder} | $closed.line as $line | .statement as $statement
  | digest("statement.json"; $line.statement_sha256; "statement"; $closed),
    digest("statement.json.sig"; $line.sig_sha256; "signature"; $closed),
    digest("statement.dsse.json"; $line.dsse_sha256; "envelope"; $closed),
    (if $line.sig_sha256 == null then finding(1; $folder; "not signed")
      elif .signer == "" and .said != "missing" and .files["statement.json"]
        then bad("\($folder)/statement.json.sig"; .said) else empty end),
    (if .files["statement.json"] == null then empty
    elif try ($statement | ._type != "https://in-toto.io/Statement/v1"
        or (.predicate.ledgers | type) != "array" or any(.subject[]; .name | type != "string"))
        catch true
      then bad("\($folder)/statement.json"; "not a statement of a run")
    else
      ((["run_id", "site", "mode", "outcome", "ticket"][] | [., $line[.]]),
        ["signer", if $line.operator == "unsigned" then null else $line.operator end]
        | . as [$field, $entered] | $statement.predicate[$field] | select(. != $entered)
        | bad("\($folder)/statement.json";
            "\($field) is \(tojson), and \($entered | tojson) in \($closed.where)")),
      subject($closed; $redacted), envelope, approval
    end);

def parsed: try fromjson catch null;
def text: type == "string" or . == null;
def shape: type == "object" and .v == 1 and (.seq | type) == "number"
  and ([.prev, .operator, .event, .time] | map(type) | unique) == ["string"]
  and (.time | time)
  and all(.run_id, .outcome, .reason, .file, .statement_sha256, .sig_sha256, .dsse_sha256; text)
  and (.event | IN("opened", "closed", "pruned", "held", "released", "redacted", "review",
    "anchored", "note"));

($facts | split("\n")[:-1] | map(split("\t") | {kind: .[0], about: .[1], told: (.[2:] | join("\t"))})
  | group_by(.kind) | map({key: .[0].kind, value: .}) | from_entries) as $facts
| def told($kind): $facts[$kind] // [] | map({key: .about, value: .told}) | from_entries;
(reduce ($files | split("\n")[:-1][] | {sha: .[:64], path: .[66:]}) as $it ({};
  ($it.path | index("/")) as $at
  | .[$it.path[:$at]] += [{key: $it.path[$at + 1:], value: $it.sha}])) as $files
| (reduce ($facts.L // [])[] as $it ({};
    .[$it.about] += [{sha: $it.told[:64], line: ($it.told[64:] | parsed
      | if shape then . else null end)}])) as $lines
| [$facts.G // [] | .[] | {principal: .about, cut: (.told == "cut"), lines: ($lines[.about] // [])}]
  as $ledgers
| (told("S")) as $statements | (told("V")) as $said
| (told("D")) as $envelopes | (told("P")) as $payloads
| (told("A")) as $approvals | (told("W")) as $approved
| [$facts.R // [] | .[].about
    | {folder: ., run: (ltrimstr(".spool-") | rtrimstr("-killed")), said: ($said[.] // ""), signer: ($said[.] // "" | key),
      approved: $approved[.], approver: ($approved[.] // "" | key), approval: ($approvals[.] // "" | parsed),
      statement: ($statements[.] // "" | parsed),
      envelope: $envelopes[.], payload: $payloads[.],
      files: ($files[.] // [] | from_entries)}] as $runs
| (told("M")) as $anchored
| [$facts.N // [] | .[] | {name: .about, said: .told, heads: ($anchored[.about] | try fromjson.heads catch [])}]
  as $anchors
| (told("X")["export.json"] // "null" | parsed) as $export
| (told("T").witness // "[]" | fromjson) as $witness
| [$ledgers[] | .principal as $principal | .lines | to_entries[] | select(.value.line != null)
    | {$principal, index: .key, where: place($principal; .key), line: .value.line}] as $lines
| (reduce $lines[] as $it ({}; .[$it.line.event][$it.line.run_id // ""] += [$it])) as $events
| ($runs | sort_by(if .folder == .run then 2 elif .folder | startswith(".") then 0 else 1 end)
    | map({key: .run, value: .}) | from_entries) as $folders
| ($ledgers | map({key: .principal, value: .}) | from_entries) as $chains
| ($ledgers | map({key: .principal, value: (.lines | map(select(.line != null)
    | {key: (.line.seq | tostring), value: .sha}) | from_entries)}) | from_entries) as $shas
| [($runs[] | select(.signer != "") | .folder as $folder | .statement.predicate.ledgers[]?
      | . + {by: "\($folder)/statement.json"}),
    ($anchors[] | select(.said | key != "") | .name as $name | .heads[]? | . + {by: $name}),
    ($witness[] | . + {by: "the witness"})] as $seen
| ($seen | map(select($shas[.principal][.seq | tostring] != .head)) | group_by(.principal)) as $missed
| ($seen | map(select($shas[.principal][.seq | tostring] == .head)) | group_by(.principal)
    | map({key: .[0].principal, value: (map(.seq) | max)}) | from_entries) as $covered
| ([($events.opened // {}, $events.closed // {}) | keys[]] | unique) as $known
| [
    ($ledgers[] | chain),
    ($known[] | . as $run | ($events.opened[$run] // []) as $opened
      | ($events.closed[$run] // []) as $closed | $folders[$run] as $folder
      | ($opened[1:][] | bad(.where; "\($run) is opened once more")),
        ($closed[1:][] | bad(.where; "\($run) is closed once more")),
        (if $opened == [] then bad($closed[0].where; "\($run) is closed, and no ledger has opened it")
          else empty end),
        (if $closed == [] then
            if $folder and ($folder.folder | startswith(".spool-") | not)
              then bad($folder.folder; "no ledger has closed it, which \($opened[0].where) opened")
              else finding(1; $opened[0].where;
                "\($run) was opened and never closed: it is under way, or was killed") end
          elif $folder == null then
            if $events.pruned[$run]
              then $events.pruned[$run][0]
                | finding(2; .where; "\($run) was removed by \(.line.operator): \(.line.reason)")
            elif $export and (any($export.runs[]?; . == $run) | not) then empty
            else bad($run; "the folder is missing; \($closed[0].where) has closed the run") end
          else
            ($folder | if .folder | startswith(".spool-")
              then finding(1; .folder; "closed, and not yet given its name") else empty end),
            ($folder | run($closed[0]; $events.redacted[$run] // []))
          end)),
    ($runs[] | select($events.opened[.run] == null and $events.closed[.run] == null
          or $folders[.run].folder != .folder)
      | (.statement.predicate.run_id? // null) as $told
      | bad(.folder; "added: no ledger knows it"
          + if $told then ", and its statement is that of \($told)" else "" end)),
    (if $export then [$events.closed // {} | keys[] | select(IN($export.runs[]?) | not)] | length
        | select(. > 0) | finding(2; "export.json"; "an export: \(.) more runs are in the ledgers only")
      else empty end),
    ($anchors[] | select(.said | key == "") | bad("\(.name).sig"; .said)),
    ($missed[] | .[0].principal as $principal | "ledger/\($principal).jsonl" as $name
      | if $shas[$principal] == null then bad($name; "missing: \(.[0].by) has seen it")
        else
          (map(select($shas[$principal][.seq | tostring])) | select(. != []) | min_by(.seq)
            | bad("\($name):\(.seq + 1)"; "rewritten: not the line that \(.by) has seen")),
          (map(select($shas[$principal][.seq | tostring] == null)) | select(. != []) | max_by(.seq)
            | bad($name; "cut or dropped: it lacks line \(.seq + 1), which \(.by) has seen"))
        end),
    ($lines[] | select(.line.event | IN("pruned", "redacted", "released", "review"))
      | select(.index > ($covered[.principal] // -1))
      | finding(1; .where; "\(.line.event): nothing signed vouches for this line"))
  ]
| unique_by([.rank, .where, .what])
| (.[] | "\(["BAD", "INCOMPLETE", "NOTE"][.rank]) \(.where): \(.what)" | gsub("[[:cntrl:]]"; "?")),
  ($ledgers[] | select(.lines != [])
    | "head \(.principal) \(.lines | length - 1) \(.lines[-1].sha)"),
  "\($runs | length) runs, \($lines | length) lines: \(
    ["altered, dropped, added or replaced", "cannot be said", "as they were written"][
      [.[].rank | select(. < 2)] | min // 2])",
  "status \([1, 2, 0][[.[].rank | select(. < 2)] | min // 2])"
' >"$work/judgement" || { echo "the archive cannot be read" >&2; exit 1; }
status=
while IFS= read -r line; do
  case $line in
    "status "*) status=${line#status } ;;
    *) printf '%s\n' "$line" ;;
  esac
done <"$work/judgement"
exit "${status:-1}"
