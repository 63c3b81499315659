// A peer on the gateway's distribution port that need not behave: the handshake of OTP 23 and later (D-01), right or wrong
// as told, and then any bytes.
"use strict";
const crypto = require("node:crypto");
const net = require("node:net");
const { patience, within } = require("./harness");

// Mandatory flags of OTP 25 and what our gateway insists on: as a C-node sends them.
const FLAGS = 0xd075f5fbcn;

const packet2 = (body) => {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(body.length);
  return Buffer.concat([head, body]);
};

function nameMessage(name) {
  const body = Buffer.alloc(15 + name.length);
  body.write("N");
  body.writeBigUInt64BE(FLAGS, 1);
  body.writeUInt32BE(1 + crypto.randomInt(1e6), 9);
  body.writeUInt16BE(name.length, 13);
  body.write(name, 15);
  return packet2(body);
}

const digest = (cookie, challenge) => crypto.createHash("md5").update(`${cookie}${challenge}`).digest();

class DistPeer {
  constructor(port, host = "127.0.0.1", from = "127.0.0.1") {
    this.data = Buffer.alloc(0);
    this.waiting = [];
    this.socket = net.connect({ port, host, localAddress: from });
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => {
      this.data = Buffer.concat([this.data, chunk]);
      this.waiting.splice(0).forEach((f) => f());
    });
    this.closed = new Promise((resolve) =>
      this.socket.once("close", () => {
        this.isClosed = true;
        this.waiting.splice(0).forEach((f) => f());
        resolve();
      }),
    );
    this.connected = new Promise((resolve) => {
      this.socket.once("connect", () => resolve(true));
      this.socket.once("close", () => resolve(false));
    });
  }

  // The next packet of the handshake; null at the end of the stream.
  async packet() {
    for (;;) {
      if (this.data.length >= 2 && this.data.length >= 2 + this.data.readUInt16BE(0)) {
        const size = this.data.readUInt16BE(0);
        const body = this.data.subarray(2, 2 + size);
        this.data = this.data.subarray(2 + size);
        return body;
      }
      if (this.isClosed) return null;
      await within(patience(5000), new Promise((r) => this.waiting.push(r)), "a handshake packet");
    }
  }

  // True when the gateway has accepted the proof.
  async handshake(name, cookie) {
    await this.connected;
    this.socket.write(nameMessage(name));
    const status = await this.packet();
    if (!status || !status.toString().startsWith("sok")) return false;
    const challenge = await this.packet();
    if (!challenge) return false;
    const reply = Buffer.alloc(21);
    reply.write("r");
    reply.writeUInt32BE(12345, 1);
    digest(cookie, challenge.readUInt32BE(9)).copy(reply, 5);
    this.socket.write(packet2(reply));
    const ack = await this.packet();
    return ack !== null && ack.length === 17 && ack[0] === 0x61;
  }

  // One packet of the open connection.
  send(body) {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    this.socket.write(Buffer.concat([head, body]));
  }

  end() {
    this.socket.destroy();
  }
}

// Terms, written by hand so that they may be wrong. REG_SEND is {6, FromPid, unused, ToName}.
const atom = (name) => Buffer.concat([Buffer.from([119, name.length]), Buffer.from(name)]);
const pid = (node) => Buffer.concat([Buffer.from([88]), atom(node), Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1])]);
const regSend = (node, to, term) =>
  Buffer.concat([Buffer.from([112, 131, 104, 4, 97, 6]), pid(node), atom(""), atom(to), Buffer.from([131]), term]);

module.exports = { DistPeer, regSend };
