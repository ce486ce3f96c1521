"""What keepalived reads: its file with all that it includes, as statements with their places.

Source: keepalived.conf(5), "INCLUDE", "Parameter substitution", "Conditional configuration",
"Sequence blocks"; keepalived, lib/parser.c, read_line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from runbook.errors import Refused
from runbook.resources.file import BEGIN, END

# Prints each line with its file and number, included files in their place: glob(3) with braces, and
# relative to the folder of the file that includes. Perl is essential in Debian, and its glob is
# that of the C library; a shell's is not. What is included for one host (``@id include …``) is
# printed as lines for that one.
_READ = r"""use Cwd; use File::Basename; use File::Glob ":bsd_glob"; my (%open, %known);
sub follow {
  my ($here, $for) = (getcwd(), $_[1]);
  for my $path (bsd_glob($_[0], GLOB_BRACE)) {
    next unless -f $path && open(my $file, "<", $path) && chdir(dirname($path));
    my ($whole, $number) = (getcwd() . "/" . basename($path), 0);
    unless ($open{$whole}) {
      local $open{$whole} = 1;
      while (my $line = <$file>) {
        $number++; $line =~ s/[\r\n]+$//;
        $known{$1} = $2 if $line =~ /^\s*\$([A-Za-z_]\w*)=(.*?)\s*$/;
        if ($line =~ /^\s*((?:@\S+\s+)?)include[rmwba]?\s+([^#!]+?)\s*([#!].*)?$/) {
          my ($only, $what) = ($1, $2);
          $what =~ s/\$\{(\w+)\}/$known{$1} \/\/ $&/ge;
          follow($what, $for . $only)
        } else { print "$whole\t$number\t$for$line\n" }
      }
    }
    chdir($here);
  }
}
follow($ARGV[0], ""); print "read\n";"""

# ${_NAME …} is keepalived's own, and no block.
_WORD = re.compile(r'"(?:\\.|[^"\\])*"?|[{}]|(?:\\.|\$\{_[^}]*\}|[^\s{}"#!])+|[#!].*')
_CODE = re.compile(r'(?:"(?:\\.|[^"\\])*"?|\\.?|[^"\\#!])*')  # what is before a comment
_DEFINITION = re.compile(r"\$([A-Za-z_]\w*)=(.*)")
_PARAMETER = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_INCLUDE = re.compile(r"include[rmwba]?\s")
_DEEPEST = 20  # parameters within parameters; one that holds itself has no end


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a configuration file."""

    path: str
    number: int
    text: str


@dataclass(slots=True)
class Statement:
    """A keyword with its words, where it stands, and what is in its block."""

    words: tuple[str, ...]
    line: Line
    inner: list[Statement] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        """The first word."""
        return self.words[0]

    def values(self, keyword: str) -> Iterator[tuple[Statement, str]]:
        """Yield the statements of this keyword in the block, with their value."""
        for statement in self.inner:
            if statement.keyword == keyword:
                yield statement, " ".join(statement.words[1:])


def probe(path: str) -> str:
    """Return the snippet that prints what keepalived reads when it starts with this file."""
    return f"perl -e {shlex.quote(_READ)} {shlex.quote(path)}"


def lines_of_others(host: str, text: str) -> list[Line]:
    """Return the lines that the snippet printed, without those of our block.

    Raises:
        Refused: The snippet did not come to its end.
    """
    *lines, last = text.rstrip("\n").split("\n")
    if last != "read":
        what = f"keepalived's configuration cannot be read: {text.strip()[-300:]}"
        raise Refused(what, host=host, step="keepalived")
    found, ours = [], False
    for line in lines:
        path, number, content = [*line.split("\t", 2), "", ""][:3]
        ours = ours or content == BEGIN
        if not ours and number.isdigit():
            found.append(Line(path, int(number), content))
        ours = ours and content != END
    return found


def statements(host: str, lines: list[Line], config_id: str) -> list[Statement]:
    """Return the statements outside any block; comments and lines for others are left out.

    Args:
        host: Where it is read.
        lines: What is read, in its order.
        config_id: What ``@`` lines are held against.

    Raises:
        Refused: A block has no end, so that ours would be read as a part of it; or what a line
            amounts to cannot be told, as of those that ``~SEQ`` and ``~LST`` generate.
    """
    top: list[Statement] = []
    stack: list[list[Statement]] = [top]
    last = Line("", 0, "")
    for line in _expanded(host, lines, config_id):
        last, words = line, list[str]()
        for word in [found for found in _WORD.findall(line.text) if found[0] not in "#!"]:
            if word not in ("{", "}"):
                words.append(word.strip('"'))
                continue
            _end_statement(stack, words, line)
            if word == "{":
                block = stack[-1][-1] if stack[-1] else Statement(("",), line)
                stack.append(block.inner)
            elif len(stack) > 1:  # keepalived passes over one too many
                stack.pop()
        _end_statement(stack, words, line)
    if len(stack) > 1:
        opened = stack[-2][-1].line if stack[-2] else last
        raise Refused(
            f"{opened.path}, line {opened.number}: a block that has no end, and would swallow ours",
            host=host,
            step="keepalived",
            todo="end it with a }",
        )
    return top


def _end_statement(stack: list[list[Statement]], words: list[str], line: Line) -> None:
    if words:
        stack[-1].append(Statement(tuple(words), line))
        words.clear()


def _expanded(host: str, lines: list[Line], config_id: str) -> Iterator[Line]:
    """Yield the lines for this host with the parameters put in, whatever these amount to.

    ``@id`` is for that one and ``@^id`` for all others; a parameter may hold other parameters,
    lines for one host, and several lines.
    """
    known: dict[str, str] = {}

    def expanded(line: Line, text: str, depth: int = 0) -> Iterator[Line]:
        while text.startswith("@"):
            name, *rest = text[1:].split(maxsplit=1) or [""]
            if (name.removeprefix("^") == config_id) == name.startswith("^"):
                return
            text = "".join(rest)
        if definition := _DEFINITION.match(text):
            known[definition[1]] = definition[2].removesuffix("\\").strip()
            return
        if text.startswith("~") or (depth and _INCLUDE.match(text)) or depth > _DEEPEST:
            raise Refused(
                f"{line.path}, line {line.number}: what `{text[:60]}` amounts to is not known here",
                host=host,
                step="keepalived",
                todo="write out the lines that it stands for, or set keepalived.replace_unmanaged: "
                "true to have the file replaced after a backup",
            )
        put_in = _PARAMETER.sub(lambda m: known.get(m[1] or m[2], m[0]), text)
        if put_in == text:
            yield Line(line.path, line.number, text)
            return
        for part in put_in.split("\n"):
            yield from expanded(line, part.strip(), depth + 1)

    more = ""  # the parameter whose definition goes on
    for line in lines:
        text = _CODE.match(line.text)[0].strip()  # type: ignore[index]  # it always matches
        if more:
            known[more] += "\n" + text.removesuffix("\\").strip()
        else:
            yield from expanded(line, text)
            definition = _DEFINITION.match(text.removeprefix(f"@{config_id}").lstrip())
            more = definition[1] if definition else ""
        more = more if text.endswith("\\") else ""
