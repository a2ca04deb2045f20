SUMMARY = "Works two slots behind a boot loader, for Backstay's agent"
DESCRIPTION = "Asks U-Boot, systemd-boot or RAUC to switch, and writes slots itself or has RAUC or SWUpdate do it. It is started by the agent, and for a moment only."
require backstay-device.inc

inherit systemd

# Whether a boot is fine is the agent's to say. Who wants all of an image to be up first enables this one.
SYSTEMD_SERVICE:${PN} = "backstay-confirm.service"
SYSTEMD_AUTO_ENABLE:${PN} = "disable"

# What slots.toml says is the board's: a bbappend of the board's layer brings it, with fw_env.config.
do_install() {
    install -D -m 0755 ${S}/usr/bin/backstay-slots ${D}${bindir}/backstay-slots
    examples=${S}/usr/share/backstay/examples
    install -D -m 0644 $examples/backstay-confirm.service ${D}${systemd_system_unitdir}/backstay-confirm.service
    # What the agent's unit takes away and this program needs.
    install -D -m 0644 $examples/backstay-agent.service.d/slots.conf ${D}${systemd_system_unitdir}/backstay-agent.service.d/slots.conf
}

FILES:${PN} += "${systemd_system_unitdir}/backstay-agent.service.d"
