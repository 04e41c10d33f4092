"""A hospital in one machine: a token with keys, a CA, and a CT and a PACS in network namespaces of their own.

The CT (192.168.10.21) uses plain DICOM, the PACS (10.1.2.9, pacs.example) DICOM over TLS only.
"""

from __future__ import annotations

from machine import Machine

PIN = "7293-units-2318"
SO_PIN = "5830-units-9921"

_NETWORK = """
for host in ct:192.168.10.21:192.168.10.1 pacs:10.1.2.9:10.1.2.3; do
  name=${host%%:*} addresses=${host#*:}
  ip netns add $name
  ip link add $name type veth peer name eth0 netns $name
  ip addr add ${addresses#*:}/24 dev $name
  ip link set $name up
  ip -n $name addr add ${addresses%:*}/24 dev eth0
  ip -n $name link set eth0 up
  ip -n $name link set lo up
done
ip link set lo up
echo '10.1.2.9 pacs.example pacs.hospital.example' >> /etc/hosts
"""

_CA = """
mkdir /root/ca && cd /root/ca
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 365 -subj '/CN=Hospital CA' \
  -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout pacs.key -out pacs.csr -subj /CN=PACS 2>/dev/null
tls_use=extendedKeyUsage=serverAuth,clientAuth
printf '%s\\n' subjectAltName=DNS:pacs.example,DNS:pacs.hospital.example keyUsage=digitalSignature $tls_use > tls.ext
printf 'keyUsage=digitalSignature,nonRepudiation\\n' > node.ext
openssl x509 -req -in pacs.csr -CA ca.pem -CAkey ca.key -days 200 -extfile tls.ext -out pacs.pem 2>/dev/null
install -m 644 ca.pem /etc/hsm-dicom/ca.pem
install -d -o hsm-dicom /tmp/requests
mkdir -p /usr/lib/vendor
ln -s "$(find /usr/lib -name libsofthsm2.so | head -n 1)" /usr/lib/vendor/libpkcs11.so
"""

_CERTIFY = """
cd /root/ca
for key in node tls; do
  openssl x509 -req -in /tmp/requests/$key.csr -CA ca.pem -CAkey ca.key -days 200 -extfile $key.ext \
    -out /tmp/requests/$key.pem 2>/dev/null
done
chmod 644 /tmp/requests/*.pem
"""

_KEYS = """
hsm-dicom token init --module $module --label 'CT room' --so-pin env:SO --pin env:PIN
for key in node:sign tls:tls; do
  hsm-dicom key generate $token --module $module --pin env:PIN --label ${key%:*} --type rsa-2048 --usage ${key#*:}
  hsm-dicom key csr "$token;object=${key%:*}" --module $module --pin env:PIN --subject CN=${key%:*} --out ${key%:*}.csr
done
"""

_CERTIFICATES = """
for key in node tls; do hsm-dicom key import-cert "$token;object=$key" $key.pem --module $module --pin env:PIN; done
"""


def prepare(machine: Machine) -> None:
    """Make what the reader of the guide has before they begin. hsm-dicom and its user must be installed."""
    machine.run(_NETWORK + _CA)
    run_as_service(machine, _KEYS)
    machine.run(_CERTIFY)
    run_as_service(machine, _CERTIFICATES)


def run_as_service(machine: Machine, commands: str) -> str:
    """Run commands as the user of the services, outside of systemd and with the PINs in variables."""
    enter = "runuser -u hsm-dicom -g hsm-dicom -G softhsm -- env HSM_DICOM_STATE=/var/lib/hsm-dicom bash -eu"
    variables = f"export SO={SO_PIN} PIN={PIN} token='pkcs11:token=CT%20room' module=/usr/lib/vendor/libpkcs11.so"
    return machine.run(f"cd /tmp/requests && {enter}", stdin=f"{variables}\n{commands}")


def start_peers(machine: Machine) -> None:
    """Start the PACS and the CT, as DCMTK's storescp: they answer C-ECHO and take images."""
    run = "systemd-run --quiet --property=NetworkNamespacePath=/run/netns"
    machine.run(
        "mkdir /tmp/pacs /tmp/ct\n"
        f"{run}/pacs --unit=pacs storescp +tls /root/ca/pacs.key /root/ca/pacs.pem +cf /root/ca/ca.pem "
        "-aet PACS -od /tmp/pacs 2762\n"
        f"{run}/ct --unit=ct storescp -aet CT1 -od /tmp/ct 104"
    )
    machine.eventually("ip netns exec pacs ss -ltn | grep -q :2762 && ip netns exec ct ss -ltn | grep -q :104")


def send_from_ct(machine: Machine, *, status: int | None = 0) -> str:
    """Send an image from the CT to the AE title PACS at the node's plain port, with DCMTK's storescu."""
    send = "ip netns exec ct storescu -aet CT1 -aec PACS 192.168.10.1 104 /images/CT_small.dcm"
    return machine.run(f"rm -f /tmp/pacs/*; {send}", status=status)
