SUMMARY = "The boot script that chooses a slot, for U-Boot"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# The script is Buildroot's as well, and lies where both find it.
FILESEXTRAPATHS:prepend := "${BACKSTAY_TREE}/firmware-integration/u-boot:"
SRC_URI = "file://boot.cmd"
# Releases before 5.1 unpack into WORKDIR.
BACKSTAY_UNPACKED = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

DEPENDS = "u-boot-tools-native"
INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit deploy

UBOOT_SCRIPT_ARCH = "arm64"
UBOOT_SCRIPT_ARCH:x86-64 = "x86_64"

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    mkimage -A ${UBOOT_SCRIPT_ARCH} -T script -C none -n "Backstay: a slot" -d ${BACKSTAY_UNPACKED}/boot.cmd ${B}/boot.scr
}

do_deploy() {
    install -D -m 0644 ${B}/boot.scr ${DEPLOYDIR}/boot.scr
}
addtask deploy after do_compile before do_build
