//! The messages of JSON-RPC 2.0, as MCP uses them: no batches, ids are strings or numbers.

use serde::Deserialize;
use serde_json::{Value, json};

/// A message of the client.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// Wants an answer with its id.
    Request {
        /// A string or a number.
        id: Value,
        /// What is asked for.
        method: String,
        /// With what; null where absent.
        params: Value,
    },
    /// A notification or a response.
    Unanswered,
}

/// A failure of a request (JSON-RPC 2.0 §5.1). Its text is fixed: nothing of the request comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RpcError {
    code: i32,
    message: &'static str,
}

impl RpcError {
    pub(crate) const fn parse() -> Self {
        Self { code: -32700, message: "The body isn't JSON." }
    }

    pub(crate) const fn invalid_request(message: &'static str) -> Self {
        Self { code: -32600, message }
    }

    pub(crate) const fn unknown_method() -> Self {
        Self { code: -32601, message: "There is no such method." }
    }

    pub(crate) const fn invalid_params(message: &'static str) -> Self {
        Self { code: -32602, message }
    }
}

#[derive(Deserialize)]
struct Envelope {
    jsonrpc: String,
    method: Option<String>,
    /// Absent is a notification; null isn't allowed (MCP 2025-11-25, Messages).
    id: Option<Value>,
    #[serde(default)]
    params: Value,
    result: Option<Value>,
    error: Option<Value>,
}

/// Reads one message.
pub(crate) fn read(body: &[u8]) -> Result<Incoming, RpcError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| RpcError::parse())?;
    // serde would take a null id for an absent one.
    let null_id = value.get("id").is_some_and(Value::is_null);
    let envelope: Envelope =
        serde_json::from_value(value).map_err(|_| RpcError::invalid_request("The body isn't one JSON-RPC message."))?;
    if envelope.jsonrpc != "2.0" {
        return Err(RpcError::invalid_request("The message isn't of JSON-RPC 2.0."));
    }
    match (envelope.method, envelope.id) {
        (Some(_), None) if !null_id => Ok(Incoming::Unanswered),
        (Some(method), Some(id)) if id.is_string() || id.is_number() => {
            Ok(Incoming::Request { id, method, params: envelope.params })
        }
        (None, Some(_)) if envelope.result.is_some() != envelope.error.is_some() => Ok(Incoming::Unanswered),
        _ => Err(RpcError::invalid_request("The message is neither a request nor a notification nor a response.")),
    }
}

/// The answer to a request that went well.
pub(crate) fn success(id: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// The answer to a request that didn't.
pub(crate) fn failure(id: &Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": error.code, "message": error.message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> i32 {
        read(text.as_bytes()).unwrap_err().code
    }

    #[test]
    fn kinds_of_messages() {
        let request = read(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
        assert_eq!(request, Incoming::Request { id: json!("a"), method: "ping".into(), params: Value::Null });
        for unanswered in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        ] {
            assert_eq!(read(unanswered.as_bytes()).unwrap(), Incoming::Unanswered, "{unanswered}");
        }
    }

    #[test]
    fn what_is_no_message() {
        assert_eq!(code("{"), -32700);
        for wrong in [
            "[]",
            "1",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":1}"#,
        ] {
            assert_eq!(code(wrong), -32600, "{wrong}");
        }
    }
}
