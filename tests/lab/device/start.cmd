# Starts the slot that was chosen: the last part of a lab device's boot script. Debian's kernel needs modules to read its disk, so
# there is a small file system in memory beside it, and it is packed, because a release goes over the air.
setenv bootargs "console=ttyAMA0 panic=1 loglevel=4 root=/dev/vda${part} ro backstay.slot=${slot}"
echo "LAB loader starts=${slot} a=${BOOT_A_LEFT} b=${BOOT_B_LEFT}"
if load virtio 0:${part} 0x56000000 /boot/kernel.gz; then
  if unzip 0x56000000 ${kernel_addr_r}; then
    if load virtio 0:${part} 0x5a000000 /boot/initrd.gz; then
      booti ${kernel_addr_r} 0x5a000000:${filesize} ${fdtcontroladdr}
    fi
  fi
fi
echo "LAB loader broken=${slot}"
reset
