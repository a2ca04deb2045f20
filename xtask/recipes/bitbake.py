"""Reads a layer and its recipes by BitBake's own parser, and tells in JSON what they come to.

What BitBake's parser is given beside the layer is said by the caller, in a configuration file: it has no OpenEmbedded-Core.

    bitbake.py LAYER CONFIGURATION
"""

import glob
import json
import os
import sys
import types

# A service that the package on PyPI leaves out: it shares what was built, and here nothing is.
for name in ["hashserv", "hashserv.client"]:
    sys.modules[name] = types.ModuleType(name)

import bb.data
import bb.parse
import bb.siggen

TOLD = ["PN", "PV", "SRC_URI", "LIC_FILES_CHKSUM", "COMPATIBLE_HOST", "DEPENDS", "CONFFILES:${PN}",
        "SYSTEMD_SERVICE:${PN}", "IMAGE_INSTALL", "WKS_FILE", "BACKSTAY_BOOT_SOURCE", "FILESEXTRAPATHS",
        "ROOTFS_POSTPROCESS_COMMAND"]
FUNCTIONS = ["do_install", "do_compile", "do_deploy", "backstay_data_partition"]


def main(layer, configuration):
    data = bb.data.init()
    bb.parse.siggen = bb.siggen.init(data)
    data = bb.parse.handle(configuration, data, True)
    data.setVar("LAYERDIR", layer)
    data = bb.parse.handle(os.path.join(layer, "conf/layer.conf"), data, True)
    data.expandVarref("LAYERDIR")
    told = {name: data.getVar(name) for name in ["LAYERSERIES_COMPAT_backstay", "BACKSTAY_TREE", "BBFILE_COLLECTIONS"]}
    files = sorted(file for pattern in data.getVar("BBFILES").split() for file in glob.glob(pattern))
    # Before a recipe, as BitBake itself says it.
    data.setVar("__bbclasstype", "recipe")
    told["recipes"] = {}
    for file in files:
        recipe = bb.parse.handle(file, bb.data.createCopy(data))[""]
        values = {name: recipe.getVar(recipe.expand(name)) for name in TOLD + FUNCTIONS}
        values["skipped"] = recipe.getVar("__SKIPPED")
        told["recipes"][os.path.relpath(file, layer)] = values
    json.dump(told, sys.stdout)


main(*sys.argv[1:])
