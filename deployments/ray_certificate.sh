#!/bin/bash
# ray_certificate.sh FOLDER [ADDRESS]: sign a certificate for this machine, by which Ray's nodes know each other
#
# FOLDER holds the authority, ray-ca.pem and ray-ca-key.pem. What Ray needs to use the certificate is written into
# FOLDER/ray-tls, for a shell and for systemd. Without an authority nothing is done, and Ray talks in clear.
set -euo pipefail
folder=$(realpath "$1")
address=${2:-$(hostname -I | cut -d' ' -f1)}
cd "$folder"
test -f ray-ca-key.pem || exit 0
umask 077
openssl req -newkey rsa:2048 -nodes -subj /CN=fleet-ray -keyout ray-node-key.pem -out ray-node.csr 2>/dev/null
openssl x509 -req -in ray-node.csr -CA ray-ca.pem -CAkey ray-ca-key.pem -days 365 -out ray-node.pem \
    -extfile <(echo "subjectAltName=IP:$address,IP:127.0.0.1,DNS:localhost") 2>/dev/null
cat > ray-tls <<END
RAY_USE_TLS=1
RAY_TLS_CA_CERT=$folder/ray-ca.pem
RAY_TLS_SERVER_CERT=$folder/ray-node.pem
RAY_TLS_SERVER_KEY=$folder/ray-node-key.pem
END
