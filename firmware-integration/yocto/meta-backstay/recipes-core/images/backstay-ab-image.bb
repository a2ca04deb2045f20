SUMMARY = "The smallest image that is one of two slots: an example, and what the layer is tried with"
LICENSE = "Apache-2.0"

IMAGE_INSTALL = "packagegroup-core-boot ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_LINGUAS = ""

inherit core-image
require backstay-ab.inc
