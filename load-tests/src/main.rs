//! Load against any y-websocket server.

fn main() {}
