#!/usr/bin/env bash
# SPDX-FileCopyrightText: overssh.swarm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# What overssh.swarm.site does on three fresh nodes, as an administrator would type it: no checks, no second run, no way
# back. The yardstick that `make bench` holds the playbook against.
#
# usage: plain.sh STATE_FOLDER HUB DIAL_HOST DIAL_PORT EDGE...    (addresses that ssh reaches from here)
set -euo pipefail

state=$1 hub=$2 dial_host=$3 dial_port=$4
shift 4
edges=("$@")
control=$(mktemp -d)
trap 'rm -rf "$control"' EXIT

on() { # on HOST: runs standard input there, as root
  ssh -i "$state/id_ed25519" -o UserKnownHostsFile="$state/known_hosts" -o StrictHostKeyChecking=yes -o BatchMode=yes \
    -o ControlMaster=auto -o ControlPath="$control/%h" -o ControlPersist=20 "ops@$1" sudo bash -euo pipefail -s
}

account() {
  cat <<'SH'
mkdir -p /etc/overssh
useradd --system --shell /bin/false --home-dir /etc/overssh --password '*' overssh
SH
}

probe='import socket,threading,sys
def serve():
    s=socket.create_server(("0.0.0.0",7337))
    while True:
        c,_=s.accept(); c.sendall(c.recv(64)); c.close()
serve()'

number=2
for edge in "${edges[@]}"; do
  account | on "$edge"
  on "$edge" <<'SH'
install -d -o overssh -g overssh -m 700 /etc/overssh/keys
ssh-keygen -q -t ed25519 -N '' -f /etc/overssh/keys/id_ed25519
chown overssh:overssh /etc/overssh/keys/id_ed25519*
SH
  number=$((number + 1))
done

account | on "$hub"
number=2
for edge in "${edges[@]}"; do
  key=$(on "$edge" <<<'cat /etc/overssh/keys/id_ed25519.pub')
  on "$hub" <<SH
echo 'tunnel="100$number",command="/bin/false",no-pty,no-port-forwarding $key' >>/etc/overssh/authorized_keys
ip tuntap add dev tun100$number mode tun user overssh group overssh
ip address add 172.30.0.1 peer 172.30.0.$number dev tun100$number
ip link set tun100$number up
sysctl -qw net.ipv4.conf.tun100$number.forwarding=1
for port in 2377 7946; do nft insert rule inet filter input iifname tun100$number tcp dport \$port accept; done
for port in 4789 7946; do nft insert rule inet filter input iifname tun100$number udp dport \$port accept; done
nft insert rule inet filter input iifname tun100$number icmp type echo-request accept
iptables -I DOCKER-USER -i tun100$number -o 'tun100+' -j ACCEPT
SH
  number=$((number + 1))
done
on "$hub" <<'SH'
cat >/etc/ssh/sshd_config.d/overssh.conf <<'CONF'
Match User overssh
    PermitTunnel point-to-point
    DisableForwarding no
    AuthorizedKeysFile /etc/overssh/authorized_keys
    ClientAliveInterval 1
CONF
sshd -t
systemctl reload ssh
SH

host_key=$(on "$hub" <<<'cat /etc/ssh/ssh_host_ed25519_key.pub')
number=2
for edge in "${edges[@]}"; do
  on "$edge" <<SH
echo 'cloud1 $host_key' >/etc/overssh/known_hosts
ip tuntap add dev tun1001 mode tun user overssh group overssh
ip address add 172.30.0.$number peer 172.30.0.1 dev tun1001
ip link set tun1001 up
ip route add 172.30.0.0/16 dev tun1001 src 172.30.0.$number
if nft list chain inet filter input >/dev/null 2>&1; then
  for rule in 'tcp dport 7946' 'udp dport 4789' 'udp dport 7946' 'icmp type echo-request'; do
    nft insert rule inet filter input iifname tun1001 \$rule accept
  done
fi
cat >/etc/systemd/system/overssh-link-cloud1.service <<UNIT
[Service]
User=overssh
ExecStart=/usr/bin/ssh -N -w 1001:100$number -i /etc/overssh/keys/id_ed25519 -o HostKeyAlias=cloud1 -o UserKnownHostsFile=/etc/overssh/known_hosts -o ExitOnForwardFailure=yes -o ServerAliveInterval=1 -p $dial_port overssh@$dial_host
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable -q --now overssh-link-cloud1
until ping -q -c 1 -W 1 172.30.0.1 >/dev/null; do :; done
SH
  number=$((number + 1))
done

on "$hub" <<'SH'
docker swarm init --advertise-addr 172.30.0.1 --listen-addr 172.30.0.1:2377 --data-path-addr 172.30.0.1 \
  --default-addr-pool 10.201.0.0/16 --default-addr-pool-mask-length 24 >/dev/null
docker network create -d overlay --attachable --subnet 10.200.0.0/24 overssh >/dev/null
SH
token=$(on "$hub" <<<'docker swarm join-token -q worker')
number=2
for edge in "${edges[@]}"; do
  on "$edge" <<SH
docker swarm join --token $token --advertise-addr 172.30.0.$number --listen-addr 172.30.0.$number:2377 \
  --data-path-addr 172.30.0.$number 172.30.0.1:2377 >/dev/null
SH
  number=$((number + 1))
done

number=1
for node in "$hub" "${edges[@]}"; do
  on "$node" <<SH
mkdir -p /tmp/empty && cd /tmp/empty && ln -sf usr/bin bin && ln -sf usr/lib lib && ln -sf usr/lib64 lib64
tar -c . | docker import - probe >/dev/null
docker run -d --rm --name probe$number --network overssh -v /usr:/usr:ro probe /usr/bin/python3 -c '$probe' >/dev/null
SH
  number=$((number + 1))
done
from=1
for node in "$hub" "${edges[@]}"; do
  for ((to = 1; to < number; to++)); do
    [ "$to" = "$from" ] && continue
    on "$node" <<SH
until docker exec probe$from /usr/bin/ping -q -c 1 -W 1 probe$to >/dev/null 2>&1; do :; done
docker exec probe$from /usr/bin/python3 -c 'import socket; s=socket.create_connection(("probe$to",7337)); s.sendall(b"x"); assert s.recv(1)==b"x"'
SH
  done
  from=$((from + 1))
done
number=1
for node in "$hub" "${edges[@]}"; do
  on "$node" <<<"docker rm -f probe$number >/dev/null; docker rmi probe >/dev/null; rm -r /tmp/empty"
  number=$((number + 1))
done
