#!/usr/bin/env bash
# Builds what tests/xen boots: Xen, a Debian kernel, and two initial RAM disks, one of dom0 and one of the guests.
#
#   tests/xen/build.sh          prints the folder of the image as its last line
#
# Everything comes from the packages of the Debian that this runs on. They are unpacked, never installed, and kept in
# $POINTSMAN_XEN_CACHE (default ~/.cache/pointsman-xen), so that only the first time downloads. Nothing here needs root.
#
# Exit status 77: the packages or the programs cannot be had here; the last line says which.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${POINTSMAN_XEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pointsman-xen}
root=$cache/root   # all packages but the kernel, unpacked over each other
stage=$cache/stage # the RAM disks before they are packed
image=$cache/image
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

say() { echo "xen image: $*" >&2; }
cannot() {
    echo "skipped: $*" >&2
    exit 77
}

# What has to be installed: tests/setup.sh does that.
command -v apt-get >/dev/null || cannot "the lab's packages are Debian's, and there is no apt-get here"
[ "$(dpkg --print-architecture)" = amd64 ] || cannot "Xen for $(dpkg --print-architecture) is another lab"
for program in qemu-system-x86_64 cpio gcc depmod readelf strip python3; do
    command -v "$program" >/dev/null || cannot "$program is not installed; tests/setup.sh test installs it"
done

# 1. Which packages. Xen's carry the version in their names, as the kernel's do.
newest() { apt-cache pkgnames "$1" | grep -x "$2" | sort -V | tail -n 1; }
hypervisor=$(newest xen-hypervisor- 'xen-hypervisor-[0-9.]*-amd64') || cannot "apt knows no xen-hypervisor-*-amd64"
xen=${hypervisor#xen-hypervisor-}
xen=${xen%-amd64}
kernel=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p')
[ -n "$kernel" ] || cannot "apt knows no linux-image-amd64"
packages=(
    # The hypervisor's side. (xenstored, xenconsoled and xl are in xen-utils.)
    "$hypervisor" "xen-utils-$xen" xen-utils-common xenstore-utils "libxenmisc$xen"
    libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenstore4
    libxentoolcore1 libxentoollog1 libyajl2
    # What Xen's hotplug scripts and the checks call.
    busybox-static bash util-linux bridge-utils iproute2 ethtool iperf3
    # The libraries of these, and of pointsman.
    libc6 libgcc-s1 libtinfo6 libbpf1 libbsd0 libbz2-1.0 libcap2 libdb5.3 libelf1 libiperf0 liblzma5 liblzo2-2 libmd0
    libmnl0 libsctp1 libselinux1 libpcre2-8-0 libssl3 libtirpc3 libgssapi-krb5-2 libkrb5-3 libk5crypto3
    libcom-err2 libkrb5support0 libkeyutils1 libuuid1 libxtables12 libzstd1 zlib1g
)

# 2. Download and unpack.
mkdir -p "$cache"/{packages,image,stage}
cd "$cache/packages"
missing=()
for package in "${packages[@]}" "linux-image-$kernel"; do
    compgen -G "${package}_*.deb" >/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "downloading ${#missing[@]} packages to $cache/packages"
    apt-get download -qq "${missing[@]}" 2>"$cache/download.log" ||
        cannot "apt-get download failed: $(tail -n 1 "$cache/download.log")"
fi
unpack() { # unpack FOLDER PACKAGE...: unless these very files are there already
    local folder=$1 files=() package
    shift
    for package in "$@"; do files+=("$(compgen -G "${package}_*.deb" | sort -V | tail -n 1)"); done
    [ "$(cat "$folder.is" 2>/dev/null)" != "${files[*]}" ] || return 0
    say "unpacking ${#files[@]} packages to $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    for package in "${files[@]}"; do dpkg -x "$package" "$folder"; done
    echo "${files[*]}" >"$folder.is"
}
unpack "$root" "${packages[@]}"
unpack "$cache/kernel-$kernel" "linux-image-$kernel"
modules=$cache/kernel-$kernel/lib/modules/$kernel
[ -e "$modules/modules.dep" ] || depmod -b "$cache/kernel-$kernel" "$kernel"

# 3. Xen and the kernel as plain ELF files: QEMU's loader wants the one, and to decompress the other under emulation
# would take several seconds, once for dom0 and once for every guest.
gunzip -c "$root/boot/xen-$xen-amd64.gz" >"$image/xen"
if [ ! -e "$image/vmlinux-$kernel" ]; then
    rm -f "$image"/vmlinux-*
    python3 - "$cache/kernel-$kernel/boot/vmlinuz-$kernel" "$image/vmlinux.tmp" <<'PYTHON'
import lzma, sys
packed = open(sys.argv[1], "rb").read()
start = packed.find(b"\xfd7zXZ\0")
if start < 0:
    sys.exit("the kernel's payload is not xz: tests/xen/build.sh must learn what it is")
open(sys.argv[2], "wb").write(lzma.LZMADecompressor().decompress(packed[start:]))
PYTHON
    strip "$image/vmlinux.tmp"
    mv "$image/vmlinux.tmp" "$image/vmlinux-$kernel"
fi

# 4. The parts that both RAM disks are made of.
library() { # library NAME: where the unpacked packages have it
    local folder
    for folder in lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu lib64; do
        if [ -e "$root/$folder/$1" ]; then
            echo "$root/$folder/$1"
            return
        fi
    done
    say "no package has $1"
    return 1
}
libraries() { # libraries DISK: the libraries of all programs in it, and theirs, until nothing is missing
    local disk=$1 name needed
    mkdir -p "$disk/lib/x86_64-linux-gnu" "$disk/lib64"
    cp -L "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$disk/lib64/"
    while :; do
        needed=
        for name in $(find "$disk" -type f \( -perm -100 -o -name '*.so*' \) ! -path '*/modules/*' -print0 |
            xargs -0 readelf -d 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u); do
            [ "$name" = ld-linux-x86-64.so.2 ] || [ ! -e "$disk/lib/x86_64-linux-gnu/$name" ] || continue
            [ "$name" != ld-linux-x86-64.so.2 ] || continue
            cp -L "$(library "$name")" "$disk/lib/x86_64-linux-gnu/"
            needed=1
        done
        [ -n "$needed" ] || return 0
    done
}
agent_libraries() { # agent_libraries DISK: those of pointsman, which comes later
    local name
    mkdir -p "$1/lib/x86_64-linux-gnu"
    for name in libgcc_s.so.1 libelf.so.1 libz.so.1 libm.so.6; do
        cp -L "$(library $name)" "$1/lib/x86_64-linux-gnu/"
    done
}
programs() { # programs DISK PATH...: from the packages, at the same place
    local disk=$1 path
    shift
    for path in "$@"; do install -D -m 755 "$root/$path" "$disk/$path"; done
}
kernel_modules() { # kernel_modules DISK NAME...: with those that they depend on
    local disk=$1 name line file
    shift
    for name in "$@"; do
        if line=$(grep -E "/${name//[-_]/[-_]}\.ko(\.xz)?:" "$modules/modules.dep"); then
            for file in ${line/:/}; do install -D -m 644 "$modules/$file" "$disk/lib/modules/$kernel/$file"; done
        else
            grep -qE "/${name//[-_]/[-_]}\.ko" "$modules/modules.builtin" || say "this kernel has no module $name"
        fi
    done
    cp "$modules"/modules.{order,builtin,builtin.modinfo} "$disk/lib/modules/$kernel/"
    depmod -b "$disk" "$kernel"
}
disk() { # disk FOLDER: an empty one, with busybox
    rm -rf "$1"
    mkdir -p "$1"/{bin,dev,etc,proc,root,run,sbin,sys,tmp,usr/bin,usr/sbin,var}
    install -m 755 "$root/bin/busybox" "$1/bin/busybox"
    # The kernel calls these by name.
    ln -s /bin/busybox "$1/sbin/modprobe"
}
pack() { (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet); }
mkdir -p "$stage/tools"
for source in "$here"/tools/*.c; do
    gcc -O2 -Wall -Wextra -Werror -static -o "$stage/tools/$(basename "$source" .c)" "$source"
done

# 5. The guests' RAM disk: a kernel, netfront, a shell, iperf3, and what our agent wants, which dom0 adds to it.
guest=$stage/domu
disk "$guest"
programs "$guest" usr/bin/iperf3 sbin/ethtool
agent_libraries "$guest"
libraries "$guest"
kernel_modules "$guest" xen-netfront 8021q xen-gntalloc xen-evtchn veth
install -m 755 "$stage/tools"/* "$guest/usr/bin/"
install -m 755 "$here/domu/init" "$guest/init"
# `xl shutdown` and `xl reboot` reach the kernel, and it calls these.
for program in poweroff reboot; do
    printf '#!/bin/sh\nexec /bin/busybox %s -f\n' $program >"$guest/sbin/$program"
    chmod 755 "$guest/sbin/$program"
done

# 6. dom0's RAM disk: Xen's daemons and xl, both backends' modules, and the guests' kernel and RAM disk.
host=$stage/dom0
disk "$host"
mkdir -p "$host"/{boot,run/lock,run/xen,var/lib/xen,var/lib/xenstored,var/log/xen}
ln -s ../run "$host/var/run"
ln -s ../run/lock "$host/var/lock"
cp -a "$root/etc/xen" "$host/etc/"
install -m 755 "$here"/../../xen/hotplug/vif-pointsman "$host/etc/xen/scripts/"
bin=usr/lib/xen-$xen/bin
programs "$host" $bin/{xl,xenstored,xenconsoled,libxl-save-helper,xen-init-dom0} \
    usr/bin/{iperf3,flock} bin/{bash,ip} sbin/{bridge,brctl,ethtool}
for program in "$root"/usr/bin/xenstore-*; do install -m 755 "$program" "$host/usr/bin/"; done
ln -s "/$bin" "$host/usr/lib/xen"
# xl wants the first of them: it cancels threads, for which libc loads it, or aborts.
agent_libraries "$host"
libraries "$host"
kernel_modules "$host" xen-gntdev xen-gntalloc xen-evtchn xen-privcmd xenfs xen-netback bridge tun virtio_net virtio_pci
install -m 755 "$stage/tools"/* "$host/usr/bin/"
install -m 755 "$here/dom0/init" "$host/init"
install -m 755 "$here/dom0/receive-here" "$host/usr/bin/"
echo "root:x:0:0:root:/root:/bin/sh" >"$host/etc/passwd"
echo "root:x:0:" >"$host/etc/group"
pack "$guest" | gzip -1 >"$host/boot/domu.cpio.gz"
cp "$image/vmlinux-$kernel" "$host/boot/vmlinux"
pack "$host" >"$image/dom0.cpio"
ln -sf "vmlinux-$kernel" "$image/vmlinux"
say "Xen $xen, Linux $kernel: $(du -sh "$image" | cut -f 1) in $image, $SECONDS s"
echo "$image"
