// Writes jwt.txt and the keys beside it: tokens signed by OpenSSL through Node's crypto. Run in this directory:
// node gen_jwt.js. The private keys are made for one run and thrown away, so a new run changes every token.
// Columns: expected verdict, algorithm that is configured, key file, user or -, token. Issuer "iss", audience "gw", leeway 5.
"use strict";
const crypto = require("node:crypto");
const fs = require("node:fs");
const NOW = 1700000060;
const secret = "0123456789abcdef".repeat(4);
const pairs = {
  rsa: crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ec: crypto.generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ed: crypto.generateKeyPairSync("ed25519"),
};
const pem = (name) => pairs[name].publicKey.export({ type: "spki", format: "pem" });
for (const name of Object.keys(pairs)) fs.writeFileSync(`${name}.pem`, pem(name));
fs.writeFileSync("secret.txt", secret);

const b64 = (v) => Buffer.from(v).toString("base64url");
const hmac = (hash, key = secret) => (text) => crypto.createHmac(hash, key).update(text).digest();
const PSS = { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
const signers = {
  HS256: hmac("sha256"), HS384: hmac("sha384"), HS512: hmac("sha512"),
  RS256: (text) => crypto.sign("sha256", Buffer.from(text), pairs.rsa.privateKey),
  PS256: (text) => crypto.sign("sha256", Buffer.from(text), { key: pairs.rsa.privateKey, ...PSS }),
  ES256: (text) => crypto.sign("sha256", Buffer.from(text), { key: pairs.ec.privateKey, dsaEncoding: "ieee-p1363" }),
  EdDSA: (text) => crypto.sign(null, Buffer.from(text), pairs.ed.privateKey),
};
const files = { HS256: "secret.txt", HS384: "secret.txt", HS512: "secret.txt", RS256: "rsa.pem", PS256: "rsa.pem", ES256: "ec.pem", EdDSA: "ed.pem" };
const claims = { iss: "iss", aud: "gw", sub: "u1", exp: NOW + 60, iat: NOW };
const raw = (header, body, sign) => { const text = `${b64(header)}.${b64(body)}`; return `${text}.${b64(sign(text))}`; };
const make = (alg, body = claims, header = {}, sign = signers[alg]) =>
  raw(JSON.stringify({ alg, typ: "JWT", ...header }), typeof body === "string" ? body : JSON.stringify(body), sign);

const rows = [];
const add = (verdict, alg, user, token) => rows.push([verdict, alg, files[alg], user, token].join(" "));
for (const alg of Object.keys(signers)) {
  const token = make(alg);
  add("ok", alg, "u1", token);
  add("signature", alg, "-", token.replace(/\.([^.]*)\./, (_, p) => `.${p.slice(0, 4)}${p[4] === "A" ? "B" : "A"}${p.slice(5)}.`));
  add("signature", alg, "-", `${token.slice(0, token.lastIndexOf("."))}.AAAA`);
  add("signature", alg, "-", `${token.slice(0, token.lastIndexOf("."))}.`);
  add("key", alg, "-", `${b64('{"alg":"none"}')}.${b64(JSON.stringify(claims))}.`);
}
// Algorithm swaps: the public key as HMAC secret, and signatures of a related algorithm.
add("key", "RS256", "-", make("HS256", claims, {}, hmac("sha256", pem("rsa"))));
add("signature", "RS256", "-", make("RS256", claims, {}, hmac("sha256", pem("rsa"))));
add("key", "RS256", "-", make("PS256"));
add("signature", "RS256", "-", make("RS256", claims, {}, signers.PS256));
add("key", "HS256", "-", make("HS512"));
add("key", "HS256", "-", make("HS256", claims, { alg: "hs256" }));
add("malformed", "HS256", "-", make("HS256", claims, { crit: ["exp"] }));
add("malformed", "HS256", "-", raw("[]", JSON.stringify(claims), signers.HS256));
add("malformed", "HS256", "-", raw("{}", JSON.stringify(claims), signers.HS256));
const also = (verdict, user, change) => add(verdict, "HS256", user, make("HS256", { ...claims, ...change }));
also("expired", "-", { exp: NOW - 5 });
also("ok", "u1", { exp: NOW - 4 });
also("content", "-", { exp: undefined });
also("content", "-", { exp: "soon" });
also("early", "-", { nbf: NOW + 6 });
also("ok", "u1", { nbf: NOW + 5 });
also("ok", "u1", { exp: NOW + 0.5 });
also("issuer", "-", { iss: "other" });
also("issuer", "-", { iss: undefined });
also("audience", "-", { aud: "other" });
also("audience", "-", { aud: undefined });
also("ok", "u1", { aud: ["x", "gw"] });
also("audience", "-", { aud: ["x", 1] });
also("ok", "42", { sub: 42 });
also("ok", "-", { sub: null });
also("ok", "-", { sub: "" });
add("content", "HS256", "-", make("HS256", "not json"));
add("content", "HS256", "-", make("HS256", "[1]"));
add("content", "HS256", "-", make("HS256", `${JSON.stringify(claims)} x`));
add("content", "HS256", "-", make("HS256", `{"a":${"[".repeat(40)}${"]".repeat(40)}}`));
add("malformed", "HS256", "-", "a.b");
add("malformed", "HS256", "-", "..");
add("malformed", "HS256", "-", `${make("HS256")}.x`);
// Names that stand twice, in the header, in the claims, and deeper.
add("malformed", "HS256", "-", raw('{"alg":"HS256","alg":"HS256"}', JSON.stringify(claims), signers.HS256));
add("content", "HS256", "-", make("HS256", `${JSON.stringify(claims).slice(0, -1)},"sub":"u2"}`));
add("content", "HS256", "-", make("HS256", `${JSON.stringify(claims).slice(0, -1)},"s\\u0075b":"u2"}`));
add("content", "HS256", "-", make("HS256", `${JSON.stringify(claims).slice(0, -1)},"x":{"y":{"z":1,"z":2}}}`));
add("malformed", "HS256", "-", raw('{"alg":5}', JSON.stringify(claims), signers.HS256));
// A kid is nothing to a single key.
add("ok", "HS256", "u1", make("HS256", claims, { kid: "whatever" }));
add("malformed", "HS256", "-", make("HS256", claims, { kid: 7 }));
// A key that the token brings counts for nothing.
add("signature", "ES256", "-", (() => {
  const own = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
  const sign = (text) => crypto.sign("sha256", Buffer.from(text), { key: own.privateKey, dsaEncoding: "ieee-p1363" });
  return make("ES256", claims, { jwk: own.publicKey.export({ format: "jwk" }) }, sign);
})());

// A key set with one of each, among what has to be passed over. Tokens for it have "jwks" as algorithm.
const jwk = (name, more) => ({ ...pairs[name].publicKey.export({ format: "jwk" }), ...more });
const weak = crypto.generateKeyPairSync("rsa", { modulusLength: 1024 });
const p384 = crypto.generateKeyPairSync("ec", { namedCurve: "P-384" });
fs.writeFileSync("jwks.json", JSON.stringify({ keys: [
  jwk("rsa", { kid: "r1", alg: "RS256", use: "sig" }),
  jwk("rsa", { kid: "r1", alg: "PS256" }),
  jwk("rsa", { kid: "e", use: "enc" }),
  jwk("ec", { kid: "c1", key_ops: ["verify"] }),
  jwk("ec", { kid: "c2", key_ops: ["sign"] }),
  jwk("ec", { kid: "c3", alg: "EdDSA" }),
  { ...jwk("ec", { kid: "c4" }), y: Buffer.alloc(32, 1).toString("base64url") },
  jwk("ed", { kid: "d1" }),
  { kty: "oct", kid: "h1", alg: "HS256", k: b64(secret) },
  { kty: "oct", kid: "h2", k: b64(secret) },
  { kty: "oct", kid: "h3", alg: "HS512", k: b64("short") },
  { ...weak.publicKey.export({ format: "jwk" }), kid: "w", alg: "RS256" },
  { ...p384.publicKey.export({ format: "jwk" }), kid: "p" },
  { kty: "RSA", kid: "n", n: "!", e: "AQAB" },
  { kty: "new", kid: "x" },
  { kid: 5, kty: "oct", alg: "HS256", k: b64(secret) },
  "no key",
] }, null, 1));
const jwks = (verdict, user, alg, header) => rows.push([verdict, "jwks", "jwks.json", user, make(alg, claims, header)].join(" "));
jwks("ok", "u1", "RS256", { kid: "r1" });
jwks("ok", "u1", "PS256", { kid: "r1" });
jwks("ok", "u1", "ES256", { kid: "c1" });
jwks("ok", "u1", "EdDSA", { kid: "d1" });
jwks("ok", "u1", "HS256", { kid: "h1" });
jwks("ok", "u1", "RS256", {});
jwks("key", "-", "RS256", { kid: "r2" });
jwks("key", "-", "RS256", { kid: "e" });
jwks("key", "-", "RS256", { kid: "w" });
jwks("key", "-", "ES256", { kid: "c2" });
jwks("key", "-", "ES256", { kid: "c4" });
jwks("key", "-", "HS256", { kid: "r1" });
jwks("key", "-", "HS512", { kid: "h3" });
rows.push(["key", "jwks", "jwks.json", "-", make("HS256", claims, { kid: "c1" }, hmac("sha256", pem("ec")))].join(" "));
fs.writeFileSync("jwt.txt", `${rows.join("\n")}\n`);
