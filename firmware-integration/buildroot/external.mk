include $(sort $(wildcard $(BR2_EXTERNAL_BACKSTAY_PATH)/package/*/*.mk))
