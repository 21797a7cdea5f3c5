#!/usr/bin/env python3
"""Checks of the text of the tree that no compiler makes.

    house.py [ROOT]

  unsafe      the word stands only under the directories that may use it (comments and strings do not count)
  cancel      every public async fn says under `# Cancel safety` what is lost when it is dropped
  size        no source file over 800 lines, no tracked file over 512 KiB
  alone       no tracked file names a package registry's host, a mirror, or a directory of somebody's machine
  licences    both are there, and named as in Cargo.toml
"""

import hashlib
import os
import re
import subprocess
import sys

UNSAFE_ALLOWED = ("src/sys/", "src/backend/", "src/task/")
MAX_SOURCE_LINES = 800
MAX_FILE_BYTES = 512 * 1024

# The registries' domains, as the first 16 digits of their SHA-256: this file does not hold what it looks for.
REGISTRIES = {
    "789e46d79514e280", "a4aa2ac280bb8d1a", "8b5bb5eb9d758455", "75adac515f0bd3db",
    "8743857e3ea00fd1", "3ca29e55be4befa4", "00a7dc5a0cc38858",
}
HOST = re.compile(r"(?<![\w.-])[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.I)
# cargo writes this line itself, for whatever registry it asks.
LOCK_SOURCE = re.compile(r'^source = "(registry|sparse)\+https://[^"]*"$')
PLACES = "|".join(["work", "root", "home", "Users"])
MACHINE_PATH = re.compile(rf"(?<![\w.~/$}}*-])/(?:{PLACES})/[\w.]")

found = []


def fault(rule, path, line, text):
    where = f"{path}:{line}" if line else path
    found.append(f"{rule:9} {where}: {text}")


def tracked(root):
    """Tracked files and new ones that are not ignored."""
    out = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=True,
    ).stdout
    return sorted({p for p in out.decode().split("\0") if p and os.path.isfile(os.path.join(root, p))})


def blank(source):
    """Rust source with comments, strings and character literals replaced by blanks, line by line the same."""
    token = re.compile(
        r"""//[^\n]*|/\*|\b(?:b|c)?r(?P<h>\#*)".*?"(?P=h)|(?:\b[bc])?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\n])'""",
        re.S,
    )
    parts, at = [], 0
    while match := token.search(source, at):
        end = match.end()
        if match.group() == "/*":               # block comments nest
            depth = 1
            while depth and (edge := re.compile(r"/\*|\*/").search(source, end)):
                depth += 1 if edge.group() == "/*" else -1
                end = edge.end()
            if depth:
                end = len(source)
        parts.append(source[at : match.start()])
        parts.append(re.sub(r"[^\n]", " ", source[match.start() : end]))
        at = end
    parts.append(source[at:])
    return "".join(parts)


def check_unsafe(path, code):
    if path.startswith(UNSAFE_ALLOWED):
        return
    for number, line in enumerate(code.split("\n"), 1):
        if re.search(r"\bunsafe\b", line):
            fault("unsafe", path, number, "unsafe code belongs under " + ", ".join(UNSAFE_ALLOWED))


def check_cancel(path, source, code):
    lines, codes = source.split("\n"), code.split("\n")
    for number, line in enumerate(codes):
        match = re.match(r"\s*pub\s+async\s+(?:unsafe\s+)?fn\s+(\w+)", line)
        if not match:
            continue
        # Up through documentation and attributes, to where the item before this one ends.
        docs = []
        for above in range(number - 1, -1, -1):
            if codes[above].rstrip().endswith(("{", "}", ";")):
                break
            text = lines[above].strip()
            if text.startswith("///"):
                docs.append(text[3:].strip())
        if "# Cancel safety" not in docs:
            fault("cancel", path, number + 1, f"pub async fn {match.group(1)} has no `# Cancel safety`")


def mirrors():
    """The hosts that this machine installs from, whatever they are called."""
    hosts = set()
    folder = "/etc/apt/sources.list.d"
    files = [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
    for name in files + ["/etc/apt/sources.list"]:
        try:
            with open(name, errors="replace") as file:
                text = re.sub(r"^\s*#.*", "", file.read(), flags=re.M)
            hosts.update(re.findall(r"https?://(?:[^/@\s]*@)?([\w.-]+\.[a-z]{2,})\b", text))
        except OSError:
            pass
    return hosts


def is_registry(host):
    labels = host.split(".")
    domains = (".".join(labels[at:]) for at in range(len(labels) - 1))
    return any(hashlib.sha256(domain.encode()).hexdigest()[:16] in REGISTRIES for domain in domains)


def check_alone(path, text, hosts):
    lock = os.path.basename(path) == "Cargo.lock"
    for number, line in enumerate(text.split("\n"), 1):
        if lock and LOCK_SOURCE.match(line):
            continue
        for host in HOST.findall(line):
            if host.lower() in hosts or is_registry(host.lower()):
                fault("alone", path, number, f"names the host {host}")
        if match := MACHINE_PATH.search(line):
            fault("alone", path, number, f"names a machine's own path near {match.group()!r}")


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
    files = tracked(root)
    hosts = mirrors()
    sources = 0
    for path in files:
        full = os.path.join(root, path)
        size = os.path.getsize(full)
        if size > MAX_FILE_BYTES:
            fault("size", path, 0, f"{size} bytes, {MAX_FILE_BYTES} at most")
        with open(full, "rb") as file:
            raw = file.read()
        if b"\0" in raw:
            continue
        text = raw.decode(errors="replace")
        check_alone(path, text, hosts)
        if path.startswith("src/") and path.endswith(".rs"):
            sources += 1
            count = text.count("\n")
            if count > MAX_SOURCE_LINES:
                fault("size", path, 0, f"{count} lines, {MAX_SOURCE_LINES} at most")
            code = blank(text)
            check_unsafe(path, code)
            check_cancel(path, text, code)
    if not sources:
        fault("size", "src", 0, "no source file was found")
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        if name not in files:
            fault("licences", name, 0, "is missing")
    with open(os.path.join(root, "Cargo.toml")) as file:
        if 'license = "MIT OR Apache-2.0"' not in file.read():
            fault("licences", "Cargo.toml", 0, "does not say MIT OR Apache-2.0")
    for line in found:
        print(line)
    print(f"{len(files)} files, {sources} of them sources: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
