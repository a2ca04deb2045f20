"""Reads a Kconfig file by kconfiglib, sets symbols, and tells in JSON which of the others are set then, and what it warns of.

    kconfig.py FILE [SYMBOL...]
"""

import json
import sys

import kconfiglib


def main(file, *symbols):
    kconfig = kconfiglib.Kconfig(file, warn_to_stderr=False)
    for name in symbols:
        kconfig.syms[name].set_value(2)
    values = {symbol.name: symbol.str_value for symbol in kconfig.unique_defined_syms}
    json.dump({"values": values, "warnings": kconfig.warnings}, sys.stdout)


main(*sys.argv[1:])
