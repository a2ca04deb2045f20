# Chooses a slot and starts what lies in it. mkimage makes boot.scr of it, and U-Boot runs that at each boot.
#
# A template: what differs from board to board are variables of U-Boot's environment that begin with `backstay_`, with their
# values where nobody set them below. It asks of U-Boot a redundant environment on a block device (CONFIG_ENV_IS_IN_MMC,
# CONFIG_SYS_REDUNDAND_ENVIRONMENT), and CONFIG_CMD_SETEXPR, CMD_ITEST, CMD_PART.
#
# The rules are those that `backstay-slots` and RAUC count on. BOOT_ORDER names the slots that may be started, the first one
# first. BOOT_A_LEFT and BOOT_B_LEFT are the boots that each has left, in hexadecimal, and one is taken away, durably, before each
# boot. Where no slot has any left, those in the order get theirs back, and no other: who isn't named may hold half of
# something.

if test -z "${backstay_tries}"; then setenv backstay_tries 3; fi
if test -z "${backstay_part_a}"; then setenv backstay_part_a 2; fi
if test -z "${backstay_part_b}"; then setenv backstay_part_b 3; fi
if test -z "${backstay_kernel}"; then setenv backstay_kernel boot/Image; fi
if test -z "${backstay_args}"; then setenv backstay_args "rootwait panic=5"; fi

if test -z "${BOOT_ORDER}"; then setenv BOOT_ORDER "A B"; fi
if test -z "${BOOT_A_LEFT}"; then setenv BOOT_A_LEFT ${backstay_tries}; fi
if test -z "${BOOT_B_LEFT}"; then setenv BOOT_B_LEFT ${backstay_tries}; fi

setenv backstay_slot none
for name in ${BOOT_ORDER}; do
  if test ${backstay_slot} = none; then
    if test ${name} = A; then
      if itest ${BOOT_A_LEFT} > 0; then
        setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
        setenv backstay_slot a
        setenv backstay_part ${backstay_part_a}
      fi
    elif test ${name} = B; then
      if itest ${BOOT_B_LEFT} > 0; then
        setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
        setenv backstay_slot b
        setenv backstay_part ${backstay_part_b}
      fi
    fi
  fi
done

if test ${backstay_slot} = none; then
  for name in ${BOOT_ORDER}; do
    if test ${name} = A; then setenv BOOT_A_LEFT ${backstay_tries}; fi
    if test ${name} = B; then setenv BOOT_B_LEFT ${backstay_tries}; fi
  done
  echo "no slot has a boot left: given back to ${BOOT_ORDER}"
  saveenv
  reset
fi

# The boot is counted before it is begun: a slot that hangs has used it up. Where that can't be written, nothing is
# counted and the same slot would be tried for ever; it is started all the same, because another start changes nothing.
saveenv

# Of the kernel's line alone the running system knows which slot it is.
part uuid ${devtype} ${devnum}:${backstay_part} backstay_uuid
setenv bootargs "${backstay_args} root=PARTUUID=${backstay_uuid} ro backstay.slot=${backstay_slot}"
echo "starts slot ${backstay_slot}: ${bootargs}"
if load ${devtype} ${devnum}:${backstay_part} ${kernel_addr_r} ${backstay_kernel}; then
  if test -n "${backstay_fdt}"; then
    if load ${devtype} ${devnum}:${backstay_part} ${fdt_addr_r} ${backstay_fdt}; then
      booti ${kernel_addr_r} - ${fdt_addr_r}
    fi
  else
    booti ${kernel_addr_r} - ${fdtcontroladdr}
  fi
fi
# Nothing starts there, and the boot is used up.
reset
