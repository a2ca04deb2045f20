SUMMARY = "Keeps this device on a release that works"
DESCRIPTION = "Judges the release that runs on the device, heals it, and goes home to the last known good one, also where there is no network and nobody to ask."
require backstay-device.inc

inherit systemd

SYSTEMD_SERVICE:${PN} = "backstay-agent.service"

# The unit is the archive's: program and unit are of one version then, and there is no copy of it here.
do_install() {
    install -D -m 0755 ${S}/usr/bin/backstay-agent ${D}${bindir}/backstay-agent
    install -D -m 0644 ${S}/usr/lib/systemd/system/backstay-agent.service ${D}${systemd_system_unitdir}/backstay-agent.service
    # An example: a bbappend brings the device's own, with its keyring and its bundles.
    install -D -m 0644 ${S}/etc/backstay/agent.toml ${D}${sysconfdir}/backstay/agent.toml
    # Where the data partition is mounted: key, journal and slots outlive an update of the system.
    install -d -m 0700 ${D}${localstatedir}/lib/backstay
}

CONFFILES:${PN} = "${sysconfdir}/backstay/agent.toml"
