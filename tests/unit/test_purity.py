"""What the pure objects import, and what they may.

Every security decision is made in code that can be tried without a socket. This holds as long as
its objects cannot reach the system at all, which their undefined symbols say.

usage: test_purity.py NM OBJECT...
The objects are those of the target pure_objects: without sanitizers, stack protector and LTO, which
would bring imports of their own.
"""

import re
import subprocess
import sys

# What a compiler may call by itself, and what reads and writes only the memory that it is given.
MEMORY = {
    "memchr", "memcmp", "memcpy", "memmem", "memmove", "memrchr", "memset",
    "strchr", "strcmp", "strlen", "strncmp", "strnlen", "strrchr", "strspn", "strcspn",
    "__assert_fail",
    "_GLOBAL_OFFSET_TABLE_",  # no function: position-independent code names it
}  # fmt: skip

HEAP = {"malloc", "calloc", "realloc", "reallocarray", "free", "strdup", "strndup"}

# Folder: what its objects may import beyond MEMORY and the symbols of other pure objects.
MAY_IMPORT = {
    "config": HEAP,
    "firewall": set(),
    "proxy/core": set(),
}

# Source: what it alone may import.
MAY_IMPORT_TOO = {
    # Text in, text or an answer out, by the tables of a library.
    "config/rule.c": {"idna_parse", "public_suffix_is"},
    # As long as what a kernel holds, which no array here could be sized for.
    "firewall/xt_image.c": HEAP,
}

# What may be written to. A pure object holds no state: its data section is empty.
MUTABLE = set("bBcCdDsSgG")


def source_of(obj):
    """.../pure_objects.dir/__/__/config/span.c.o -> config/span.c"""
    match = re.search(r"\.dir/(?:\./)?(?:__/)*(.+\.c)\.o$", obj)
    if not match:
        sys.exit(f"not an object of pure_objects: {obj}")
    return match[1]


def symbols(nm, paths):
    """Source -> pairs of type and name."""
    out = subprocess.run([nm, "-AP", *paths], check=True, capture_output=True, text=True).stdout
    table = {source_of(path): [] for path in paths}
    for line in out.splitlines():
        path, name, kind = line.split()[:3]
        table[source_of(path.rstrip(":"))].append((kind, name))
    return table


def complaints(objects):
    """`objects`: source -> symbols. One sentence for each thing that a source must not have."""
    defined = {name for table in objects.values() for kind, name in table if kind in "TDRVWBC"}
    for source, table in sorted(objects.items()):
        folder = source.rsplit("/", 1)[0]
        allowed = MEMORY | MAY_IMPORT.get(folder, set()) | MAY_IMPORT_TOO.get(source, set()) | defined
        for kind, name in table:
            if kind == "U" and name not in allowed:
                yield f"{source} is pure and imports {name}"
            if kind in MUTABLE:
                yield f"{source} is pure and has a variable that outlives a call: {name}"


def main():
    nm, paths = sys.argv[1], sys.argv[2:]
    objects = symbols(nm, paths)

    # A list that is empty by mistake must not pass.
    for folder in MAY_IMPORT:
        if not any(source.startswith(folder + "/") for source in objects):
            sys.exit(f"no pure object of {folder}/ was given")
    found = list(complaints(objects))
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print(
            "A pure source is handed what it needs. One that does I/O is to be listed as such in"
            " tests/unit/structure.cmake, with the reason.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
