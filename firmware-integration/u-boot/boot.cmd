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

# Without setenv, a variable is the shell's alone, and saveenv leaves it out.
tries=${backstay_tries}
part_a=${backstay_part_a}
part_b=${backstay_part_b}
kernel=${backstay_kernel}
args=${backstay_args}
if test -z "${tries}"; then tries=3; fi
if test -z "${part_a}"; then part_a=2; fi
if test -z "${part_b}"; then part_b=3; fi
if test -z "${kernel}"; then kernel=boot/Image; fi
if test -z "${args}"; then args="rootwait panic=5"; fi

if test -z "${BOOT_ORDER}"; then setenv BOOT_ORDER "A B"; fi
if test -z "${BOOT_A_LEFT}"; then setenv BOOT_A_LEFT ${tries}; fi
if test -z "${BOOT_B_LEFT}"; then setenv BOOT_B_LEFT ${tries}; fi

slot=none
for name in ${BOOT_ORDER}; do
  if test ${slot} = none; then
    if test ${name} = A; then
      if itest ${BOOT_A_LEFT} > 0; then
        setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
        slot=a
        part=${part_a}
      fi
    elif test ${name} = B; then
      if itest ${BOOT_B_LEFT} > 0; then
        setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
        slot=b
        part=${part_b}
      fi
    fi
  fi
done

if test ${slot} = none; then
  for name in ${BOOT_ORDER}; do
    if test ${name} = A; then setenv BOOT_A_LEFT ${tries}; fi
    if test ${name} = B; then setenv BOOT_B_LEFT ${tries}; fi
  done
  echo "no slot has a boot left: given back to ${BOOT_ORDER}"
  saveenv
  reset
fi

# The boot is counted before it is begun: a slot that hangs has used it up. Where that can't be written, nothing is
# counted and the same slot would be tried for ever; it is started all the same, because another start changes nothing.
saveenv

# Of the kernel's line alone the running system knows which slot it is.
part uuid ${devtype} ${devnum}:${part} backstay_uuid
setenv bootargs "${args} root=PARTUUID=${backstay_uuid} ro backstay.slot=${slot}"
echo "starts slot ${slot}: ${bootargs}"
if load ${devtype} ${devnum}:${part} ${kernel_addr_r} ${kernel}; then
  # A kernel that needs modules to read its disk, as Debian's, brings a file system in memory. It is the slot's, as the kernel is.
  initrd=-
  if test -n "${backstay_initrd}"; then
    initrd=missing
    if load ${devtype} ${devnum}:${part} ${ramdisk_addr_r} ${backstay_initrd}; then
      initrd=${ramdisk_addr_r}:${filesize}
    fi
  fi
  if test ${initrd} != missing; then
    if test -n "${backstay_fdt}"; then
      if load ${devtype} ${devnum}:${part} ${fdt_addr_r} ${backstay_fdt}; then
        booti ${kernel_addr_r} ${initrd} ${fdt_addr_r}
      fi
    else
      booti ${kernel_addr_r} ${initrd} ${fdtcontroladdr}
    fi
  fi
fi
# Nothing starts there, and the boot is used up.
reset
