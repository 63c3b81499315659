// The part of the phoenix.js interface that the console page uses, for gateways that are not given the real one
// (console_phoenix_js). One difference is meant: it knows only the V2 text serializer and the WebSocket.
var Phoenix = (() => {
  const HEARTBEAT_MS = 30000, TIMEOUT_MS = 10000, RETRY_MS = [10, 50, 100, 250, 500, 1000, 2000, 5000];

  class Push {
    constructor(channel, event, payload) {
      Object.assign(this, {channel, event, payload, hooks: [], answer: null});
    }
    receive(status, callback) {
      if (this.answer && this.answer.status === status) callback(this.answer.response);
      this.hooks.push({status, callback});
      return this;
    }
    settle(status, response) {
      clearTimeout(this.timer);
      this.answer = {status, response};
      for (const hook of this.hooks) if (hook.status === status) hook.callback(response);
    }
    send() {
      const {channel} = this, {socket} = channel;
      this.ref = socket.nextRef();
      if (this.event === "phx_join") channel.joinRef = this.ref;
      socket.replies.set(this.ref, this);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { socket.replies.delete(this.ref); this.settle("timeout", {}); }, TIMEOUT_MS);
      socket.write([channel.joinRef, this.ref, channel.topic, this.event, this.payload]);
    }
  }

  class Channel {
    constructor(socket, topic, params) {
      Object.assign(this, {socket, topic, params, state: "closed", bindings: [], buffer: []});
    }
    join() {
      this.joinPush = new Push(this, "phx_join", this.params);
      this.joinPush.receive("ok", () => { this.state = "joined"; this.buffer.splice(0).forEach(push => push.send()); });
      this.joinPush.receive("error", () => { this.state = "errored"; });
      this.rejoin();
      return this.joinPush;
    }
    rejoin() {
      this.state = "joining";
      if (this.socket.isOpen()) this.joinPush.send();
    }
    leave() {
      const push = new Push(this, "phx_leave", {});
      this.state = "leaving";
      if (this.socket.isOpen()) push.send();
      return push;
    }
    push(event, payload) {
      const push = new Push(this, event, payload);
      if (this.state === "joined" && this.socket.isOpen()) push.send();
      else this.buffer.push(push);
      return push;
    }
    on(event, callback) { this.bindings.push({event, callback}); }
    onError(callback) { this.on("phx_error", callback); }
    onClose(callback) { this.on("phx_close", callback); }
    trigger(event, payload) {
      if (event === "phx_close") this.state = "closed";
      for (const binding of this.bindings) if (binding.event === event) binding.callback(payload);
      if (event === "phx_error" && this.state !== "leaving") {
        this.state = "errored";
        if (this.socket.isOpen()) setTimeout(() => this.rejoin(), 1000);
      }
    }
  }

  class Socket {
    constructor(path, {params = {}, transport = WebSocket} = {}) {
      Object.assign(this, {path, params, transport, ref: 0, tries: 0, channels: [], replies: new Map()});
      this.hooks = {open: [], close: [], error: [], message: []};
    }
    onOpen(callback) { this.hooks.open.push(callback); }
    onClose(callback) { this.hooks.close.push(callback); }
    onError(callback) { this.hooks.error.push(callback); }
    onMessage(callback) { this.hooks.message.push(callback); }
    fire(kind, value) { this.hooks[kind].forEach(callback => callback(value)); }
    nextRef() { return String(++this.ref); }
    isOpen() { return !!this.conn && this.conn.readyState === 1; }
    write(message) { if (this.isOpen()) this.conn.send(JSON.stringify(message)); }
    url() {
      const scheme = location.protocol === "https:" ? "wss://" : "ws://";
      const query = new URLSearchParams({...this.params, vsn: "2.0.0"});
      return scheme + location.host + this.path.replace(/\/$/, "") + "/websocket?" + query;
    }
    channel(topic, params = {}) {
      const channel = new Channel(this, topic, params);
      this.channels.push(channel);
      return channel;
    }
    connect() {
      this.wanted = true;
      const conn = this.conn = new this.transport(this.url());
      conn.onopen = () => {
        this.tries = 0;
        this.beat = setInterval(() => this.write([null, this.nextRef(), "phoenix", "heartbeat", {}]), HEARTBEAT_MS);
        this.channels.filter(c => c.joinPush && c.state !== "leaving").forEach(c => c.rejoin());
        this.fire("open");
      };
      conn.onerror = error => this.fire("error", error);
      conn.onmessage = event => this.receive(event.data);
      conn.onclose = event => this.lost(conn, event);
    }
    lost(conn, event) {
      if (conn !== this.conn) return;
      clearInterval(this.beat);
      this.conn = null;
      this.channels.forEach(c => { if (c.state !== "closed" && c.state !== "leaving") c.trigger("phx_error", {}); });
      this.fire("close", event);
      const wait = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
      if (this.wanted) this.retry = setTimeout(() => this.connect(), wait);
    }
    disconnect() {
      this.wanted = false;
      clearTimeout(this.retry);
      clearInterval(this.beat);
      const conn = this.conn;
      this.conn = null;
      if (conn) conn.close(1000);
    }
    receive(data) {
      const [joinRef, ref, topic, event, payload] = JSON.parse(data);
      this.fire("message", {join_ref: joinRef, ref, topic, event, payload});
      if (event === "phx_reply") {
        const push = this.replies.get(ref);
        this.replies.delete(ref);
        if (push) push.settle(payload.status, payload.response);
        return;
      }
      for (const channel of this.channels)
        if (channel.topic === topic && (joinRef === null || joinRef === channel.joinRef)) channel.trigger(event, payload);
    }
  }

  return {Socket, Channel, Push};
})();
