#!/bin/sh
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Run by mmdebstrap as a customize hook once the packages are there; $1 is the tree.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash ops
install -d -m 0700 "$root/home/ops/.ssh"
chroot "$root" chown ops: /home/ops/.ssh
echo 'ops ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/ops"
chmod 0440 "$root/etc/sudoers.d/ops"
chmod 0755 "$root/usr/local/sbin/lab-boot"

# Who a node is, it finds out at its first boot. An empty machine-id is filled then, without the presets of a first boot.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"

# Timers that would take the processor or apt's lock in the middle of a measurement.
for timer in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$timer"
done

# A firewall or a manager of networks that a scenario needs is started by that scenario.
for unit in firewalld NetworkManager NetworkManager-wait-online NetworkManager-dispatcher; do
    if [ -e "$root/usr/lib/systemd/system/$unit.service" ]; then
        systemctl --quiet --root="$root" disable "$unit.service"
    fi
done

# Only net.* belongs to the node; the rest of a sysctl file would change the kernel of the machine underneath.
for file in "$root"/usr/lib/sysctl.d/*.conf; do
    { grep -E '^-?net\.' "$file" || :; } >"$root/etc/sysctl.d/${file##*/}"
done

# What the machine underneath uses to reach its mirror is its own business.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
