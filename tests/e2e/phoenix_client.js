// The official client, npm `phoenix`, as the tests use it: a socket whose frames can be looked at, both ways.
"use strict";
const { Socket } = require("phoenix");
const { WebSocket } = require("ws");
const { Inbox } = require("./client");

// {"raw": TEXT} anywhere in a message goes out as TEXT: what JSON.stringify() cannot write, as 1.0.
function encodeRaw(message, callback) {
  const { join_ref, ref, topic, event, payload } = message;
  const text = JSON.stringify([join_ref, ref, topic, event, payload]);
  callback(text.replace(/\{"raw":("(?:[^"\\]|\\.)*")\}/g, (_, raw) => JSON.parse(raw)));
}

// options are those of phoenix.js.
function spySocket(gateway, options = { params: { user_id: "u1" } }) {
  const frames = { sent: [], received: new Inbox(), closes: [] };
  class Spy extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      this.on("message", (data) => frames.received.put(data.toString()));
      this.on("close", (code) => frames.closes.push(code));
    }

    send(data, ...rest) {
      frames.sent.push(data.toString());
      return super.send(data, ...rest);
    }
  }
  const usual = { transport: Spy, encode: encodeRaw, reconnectAfterMs: () => 100, rejoinAfterMs: () => 100 };
  const socket = new Socket(gateway.url, { ...usual, ...options });
  socket.connect();
  return { socket, frames };
}

// Resolves with ["ok" | "error" | "timeout", response].
function settled(push) {
  return new Promise((resolve) => {
    for (const how of ["ok", "error", "timeout"]) push.receive(how, (response) => resolve([how, response]));
  });
}

module.exports = { settled, spySocket };
