"""Gathers the pages of the site: README.md, HACKING.md, CHANGELOG.md, docs/*.md, the notebooks, and what any of them links to.

    python stage.py REPOSITORY FOLDER

Everything lies in FOLDER as in the repository, so that links are those that hold on GitHub, and mkdocs finds broken ones. Of
what is no page and no picture a page is made: source files and tables as they are, folders as lists.
"""
import json
import pathlib
import re
import shutil
import sys

import pygments.formatters

root, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
LANGUAGES = {".c": "c", ".h": "c", ".cpp": "cpp", ".hpp": "cpp", ".py": "python", ".sh": "sh", ".json": "json", ".txt": "text"}
PICTURES = {".png", ".svg"}
# A link, or code, in which nothing is a link.
LINK = re.compile(r"^```.*?^```$|^ {4}.*?$|`[^`\n]*`|\]\((?P<link>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)", re.M | re.S)
made = set()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def as_page(path):
    """The page, or the picture, that stands for a file or a folder of the repository."""
    if path.suffix == ".md" or path.suffix in PICTURES:
        return path
    return path / "index.md" if path.is_dir() else path.with_name(path.name + ".md")


def linked(text, folder):
    """A page's text with links to the pages that are made of what it links to."""
    def replaced(match):
        link = match["link"]
        if not link or "://" in link or link.startswith("mailto:"):
            return match[0]
        target = (folder / link).resolve()
        if not target.exists() or not target.is_relative_to(root):
            return match[0]  # mkdocs says so
        add(target)
        up = "../" * len(folder.relative_to(root).parts)
        return f"]({up}{as_page(target).relative_to(root)}{match['anchor'] or ''})"
    return LINK.sub(replaced, text)


def cells(notebook):
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"


def add(path):
    if path in made:
        return
    made.add(path)
    to = out / as_page(path).relative_to(root)
    title = path.relative_to(root)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in LANGUAGES or file.suffix in (".md", ".ipynb"))
        write(to, linked(f"# {title}\n\n" + "".join(f"- [{file.name}]({file.name})\n" for file in files), path))
    elif path.suffix in PICTURES:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    elif path.suffix == ".md":
        write(to, linked(path.read_text(), path.parent))
    elif path.suffix == ".ipynb":
        write(to, linked("\n\n".join(cells(json.loads(path.read_text()))), path.parent))
    else:
        language = LANGUAGES.get(path.suffix, "text")
        write(to, f"# {title}\n\n~~~~~~{language}\n{path.read_text()}\n~~~~~~\n")


shutil.rmtree(out, ignore_errors=True)
for name in ("README.md", "HACKING.md", "CHANGELOG.md"):
    add(root / name)
for page in [*sorted((root / "docs").glob("*.md")), *sorted((root / "examples/notebooks").glob("*.ipynb"))]:
    add(page)
write(out / "docs/python-api.md", (root / "docs/site/python-api.md").read_text())
shutil.copy(root / "docs/site/style.css", out / "style.css")
write(out / "code.css", pygments.formatters.HtmlFormatter(style="default").get_style_defs(".highlight"))
