# Chooses a slot and starts what lies in it. U-Boot runs this at each boot; mkimage makes boot.scr of it.
#
# Here: the rules that `uboot` of the boot crate counts on. BOOT_ORDER names the slots that may be started, the first
# one first; BOOT_x_LEFT is how many boots a slot has left, and one is taken away, durably, before each. Where none has
# any left, those in the order get theirs back, and no other: who isn't named may hold half of something.
#
# This U-Boot (Debian's qemu_arm64) looks for its own environment in a flash that QEMU gives it read-only. So the redundant one, which
# the running system changes, is read and written here: 4 bytes CRC32, 1 byte flags, variables. On a board whose
# U-Boot is built with it (CONFIG_SYS_REDUNDAND_ENVIRONMENT), leave out read_copy and all that uses it, and write
# `saveenv` for `run save`.

setenv env_at_0 0x1000
setenv env_at_1 0x1080
setenv env_blocks 0x20
setenv env_data 0x3ffb

# Reads the copy at block ${at} to ${to}; whole is 1 where its sum is right. U-Boot stores a sum that it computed with its
# first byte first, and a copy of the environment has it the other way round.
setenv read_copy 'virtio read ${to} ${at} ${env_blocks}; setexpr data ${to} + 5; crc32 ${data} ${env_data} 0x48040000; run swap; setexpr.l is *0x48040004; setexpr.l said *${to}; setexpr byte ${to} + 4; setexpr.b flags *${byte}; if itest ${is} == ${said}; then setenv whole 1; else setenv whole 0; fi'
setenv swap 'setexpr.b byte *0x48040000; mw.b 0x48040007 ${byte}; setexpr.b byte *0x48040001; mw.b 0x48040006 ${byte}; setexpr.b byte *0x48040002; mw.b 0x48040005 ${byte}; setexpr.b byte *0x48040003; mw.b 0x48040004 ${byte}'

# Writes the variables over the copy that doesn't hold, with the next flags.
setenv save 'setexpr flags ${holds_flags} + 1; if itest ${flags} > 0xff; then setenv flags 0; fi; env export -b -s ${env_data} 0x48050005 BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT; crc32 0x48050005 ${env_data} 0x48040000; run swap; cp.b 0x48040004 0x48050000 4; mw.b 0x48050004 ${flags}; virtio write 0x48050000 ${spare_at} ${env_blocks}'

setenv at ${env_at_0}; setenv to 0x48000000; run read_copy
setenv whole_0 ${whole}; setenv flags_0 ${flags}
setenv at ${env_at_1}; setenv to 0x48020000; run read_copy
setenv whole_1 ${whole}; setenv flags_1 ${flags}

# The copy that is whole holds; of two the newer one, and after 255 comes 0.
setenv holds none
if test ${whole_0} = 1; then setenv holds 0; fi
if test ${whole_1} = 1; then
  if test ${holds} = none; then
    setenv holds 1
  elif itest ${flags_1} > ${flags_0}; then
    setenv holds 1
    if itest ${flags_1} == 0xff; then if itest ${flags_0} == 0; then setenv holds 0; fi; fi
  elif itest ${flags_1} == 0; then
    if itest ${flags_0} == 0xff; then setenv holds 1; fi
  fi
fi
setenv holds_flags 0
setenv spare_at ${env_at_0}
if test ${holds} = 0; then
  setenv holds_flags ${flags_0}; setenv spare_at ${env_at_1}
  env import -b 0x48000005 ${env_data} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
elif test ${holds} = 1; then
  setenv holds_flags ${flags_1}; setenv spare_at ${env_at_0}
  env import -b 0x48020005 ${env_data} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
fi
echo "LAB loader copy=${holds} order=${BOOT_ORDER} a=${BOOT_A_LEFT} b=${BOOT_B_LEFT}"

