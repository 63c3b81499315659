// Certificates for a run, made with openssl in its folder: nothing of the kind is kept in the tree. authority() makes a CA,
// leaf() a certificate signed by one; both give the paths of their PEM files.
"use strict";
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
const openssl = (...args) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });

class Certs {
  constructor(run) {
    this.dir = fs.mkdtempSync(path.join(run.dir, "certs-"));
  }

  files(name) {
    return { crt: path.join(this.dir, `${name}.crt`), key: path.join(this.dir, `${name}.key`) };
  }

  authority(name = "ca") {
    const f = this.files(name);
    openssl("req", "-x509", ...EC, "-days", "30", "-subj", `/CN=${name}`, "-keyout", f.key, "-out", f.crt);
    return { ...f, pem: fs.readFileSync(f.crt) };
  }

  // names as in "DNS:localhost,IP:127.0.0.1"; negative days: expired.
  leaf(name, ca, { names = "DNS:localhost,IP:127.0.0.1", days = 30 } = {}) {
    const f = this.files(name);
    const csr = path.join(this.dir, `${name}.csr`);
    const ext = path.join(this.dir, `${name}.ext`);
    fs.writeFileSync(ext, `subjectAltName=${names}\n`);
    openssl("req", "-new", ...EC, "-subj", `/CN=${name}`, "-keyout", f.key, "-out", csr);
    const signed = ["-CA", ca.crt, "-CAkey", ca.key, "-CAcreateserial", "-days", String(days), "-extfile", ext];
    openssl("x509", "-req", "-in", csr, ...signed, "-out", f.crt);
    return f;
  }
}

// The flags of a BEAM node that speaks distribution over TLS with this certificate, and wants the like of others.
function distFlags(run, name, pair, ca) {
  const file = path.join(run.dir, `${name}.conf`);
  const options = `{certfile, "${pair.crt}"}, {keyfile, "${pair.key}"}, {cacertfile, "${ca.crt}"}, {verify, verify_peer}`;
  fs.writeFileSync(file, `[{server, [${options}, {fail_if_no_peer_cert, true}]}, {client, [${options}]}].\n`);
  return `-proto_dist inet_tls -ssl_dist_optfile ${file}`;
}

module.exports = { Certs, distFlags };
