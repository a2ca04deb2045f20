################################################################################
#
# backstay-agent
#
################################################################################

BACKSTAY_AGENT_VERSION = 0.1.0
BACKSTAY_AGENT_CPU = $(if $(BR2_aarch64),aarch64,x86_64)
BACKSTAY_AGENT_SOURCE = backstay-device-$(BACKSTAY_AGENT_VERSION)-$(BACKSTAY_AGENT_CPU)-unknown-linux-musl.tar.gz
BACKSTAY_AGENT_SITE = $(call qstrip,$(BR2_PACKAGE_BACKSTAY_AGENT_DIST))
BACKSTAY_AGENT_SITE_METHOD = $(if $(findstring ://,$(BACKSTAY_AGENT_SITE)),wget,file)
BACKSTAY_AGENT_LICENSE = Apache-2.0
BACKSTAY_AGENT_LICENSE_FILES = LICENSE
# Who builds the archive has its sum; see the option for where to put it.
BR_NO_CHECK_HASH_FOR += $(BACKSTAY_AGENT_SOURCE)

# Nothing is compiled, and no library is used.
BACKSTAY_AGENT_ADD_TOOLCHAIN_DEPENDENCY = NO

ifeq ($(BR2_PACKAGE_BACKSTAY_AGENT_SLOTS),y)
define BACKSTAY_AGENT_INSTALL_SLOTS
	$(INSTALL) -D -m 0755 $(@D)/usr/bin/backstay-slots \
		$(TARGET_DIR)/usr/bin/backstay-slots
	# What the agent's unit takes away and this program needs.
	$(INSTALL) -D -m 0644 $(@D)/usr/share/backstay/examples/backstay-agent.service.d/slots.conf \
		$(TARGET_DIR)/usr/lib/systemd/system/backstay-agent.service.d/slots.conf
endef
endif

define BACKSTAY_AGENT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/usr/bin/backstay-agent \
		$(TARGET_DIR)/usr/bin/backstay-agent
	$(BACKSTAY_AGENT_INSTALL_SLOTS)
	$(INSTALL) -D -m 0644 $(@D)/etc/backstay/agent.toml \
		$(TARGET_DIR)/etc/backstay/agent.toml
	$(INSTALL) -d -m 0700 $(TARGET_DIR)/var/lib/backstay
endef

define BACKSTAY_AGENT_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/usr/lib/systemd/system/backstay-agent.service \
		$(TARGET_DIR)/usr/lib/systemd/system/backstay-agent.service
endef

$(eval $(generic-package))
