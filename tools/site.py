"""Makes a site of documents that are also read as they lie in the repository: a hook of mkdocs.

Links lead from where a file lies. Those to documents outside of `docs` lead to copies of them in the
site; those to other files, such as sources, have no place in a site without a repository and become text.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Documents outside of `docs`, and where the site has them.
PROJECT = {
    "README.md": "project/readme.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "bench/README.md": "project/benchmarks.md",
}
LIES_AT = {page: document for document, page in PROJECT.items()}
# Rust's test attributes behind the language of a block, which only its documentation tool knows.
FENCE = re.compile(r"^(\s*```\w+),[\w,]+$")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files, config):
    for document, page in PROJECT.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    lies_at = LIES_AT.get(page.file.src_uri, "docs/" + page.file.src_uri)
    lines, in_code = [], False
    for line in markdown.split("\n"):
        in_code ^= line.lstrip().startswith("```")
        line = FENCE.sub(r"\1", line)
        lines.append(line if in_code else LINK.sub(lambda link: _led(link, lies_at, page.file.src_uri), line))
    return "\n".join(lines)


def _led(link, lies_at, page):
    """A link of the repository as a link of the site."""
    text, target = link.groups()
    path, _, anchor = target.partition("#")
    if ":" in path or not path:
        return link.group()
    found = posixpath.normpath(posixpath.join(posixpath.dirname(lies_at), path))
    if found in PROJECT:
        found = PROJECT[found]
    elif found.startswith("docs/") and found.endswith(".md"):
        found = found[len("docs/"):]
    elif (ROOT / found).exists():
        return text
    # What does not exist stays as it is, and fails the build.
    else:
        return link.group()
    target = posixpath.relpath(found, posixpath.dirname(page) or ".")
    return "[%s](%s%s)" % (text, target, "#" + anchor if anchor else "")
