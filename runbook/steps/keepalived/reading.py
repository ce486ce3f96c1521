"""What keepalived reads: its file with all that it includes, as statements with their places.

Source: keepalived.conf(5), "INCLUDE", "PARAMETER SYNTAX", "Conditional configuration"; keepalived,
lib/parser.c.
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

_WORD = re.compile(r'"(?:\\.|[^"\\])*"?|[{}]|(?:\\.|[^\s{}"#!])+|[#!].*')
_DEFINITION = re.compile(r"\s*\$([A-Za-z_]\w*)=(.*?)\s*(\\?)$")


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
        Refused: A block has no end, so that ours would be read as a part of it.
    """
    top: list[Statement] = []
    stack: list[list[Statement]] = [top]
    last = Line("", 0, "")
    for line in _substituted(_chosen(lines, config_id)):
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


def _chosen(lines: list[Line], config_id: str) -> Iterator[Line]:
    """Yield the lines for this host: ``@id`` is for that one, ``@^id`` for all others."""
    for line in lines:
        text, ours = line.text.lstrip(), True
        while ours and text.startswith("@"):
            name, *rest = text[1:].split(maxsplit=1) or [""]
            ours = (name.removeprefix("^") == config_id) != name.startswith("^")
            text = "".join(rest)
        if ours:
            yield Line(line.path, line.number, text)


def _substituted(lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines with the parameters put in; a definition may go on over several lines."""
    known: dict[str, str] = {}
    name, more = "", False
    for line in lines:
        if more:
            known[name] += "\n" + line.text.rstrip().removesuffix("\\")
            more = line.text.rstrip().endswith("\\")
            continue
        if definition := _DEFINITION.match(line.text):
            name, more = definition[1], bool(definition[3])
            known[name] = definition[2]
            continue
        text = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: known.get(m[1] or m[2], m[0]), line.text)
        for part in text.split("\n"):
            yield Line(line.path, line.number, part)
