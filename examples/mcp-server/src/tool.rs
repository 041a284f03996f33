//! The tools: what they are called, what they take, what they do.

use keyward_guard::AccessToken;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::message::RpcError;
use crate::tasks::{Refused, Tasks};

/// A tool that a client may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    WhoAmI,
    ListTasks,
    AddTask,
}

impl Tool {
    /// Every tool.
    pub(crate) const ALL: [Self; 3] = [Self::WhoAmI, Self::ListTasks, Self::AddTask];

    const fn name(self) -> &'static str {
        match self {
            Self::WhoAmI => "whoami",
            Self::ListTasks => "list_tasks",
            Self::AddTask => "add_task",
        }
    }

    /// Whether it changes anything.
    pub(crate) const fn changes(self) -> bool {
        matches!(self, Self::AddTask)
    }

    /// The entry in the answer to `tools/list`.
    pub(crate) fn describe(self) -> Value {
        let (description, properties, required) = match self {
            Self::WhoAmI => ("Says for whom and through which client this server acts.", json!({}), json!([])),
            Self::ListTasks => ("Lists your tasks.", json!({}), json!([])),
            Self::AddTask => (
                "Adds a task to your list.",
                json!({ "text": { "type": "string", "description": "What is to be done." } }),
                json!(["text"]),
            ),
        };
        json!({
            "name": self.name(),
            "description": description,
            "inputSchema": {
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": !self.changes(), "openWorldHint": false },
        })
    }
}

/// A tool and its arguments, read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: Tool,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Parameters {
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Arguments {
    text: Option<String>,
}

impl Call {
    /// Reads the parameters of `tools/call`.
    pub(crate) fn read(params: &Value) -> Result<Self, RpcError> {
        let Parameters { name, arguments } = Parameters::deserialize(params)
            .map_err(|_| RpcError::invalid_params("The name or the arguments aren't what the tools take."))?;
        let tool = Tool::ALL.into_iter().find(|tool| tool.name() == name);
        let tool = tool.ok_or_else(|| RpcError::invalid_params("There is no such tool."))?;
        // Only add_task takes an argument, and it needs it.
        if arguments.text.is_some() != (tool == Tool::AddTask) {
            return Err(RpcError::invalid_params("These aren't the tool's arguments."));
        }
        Ok(Self { tool, text: arguments.text })
    }

    /// Does it, for the token's subject, and gives the tool's result. What a model can mend is a result that says so,
    /// not a failure of the protocol (MCP 2025-11-25, Tools).
    pub(crate) fn run(self, tasks: &Tasks, token: &AccessToken) -> Value {
        let done = match self.tool {
            Tool::WhoAmI => Ok(json!({ "sub": token.sub, "client_id": token.client_id, "scope": token.scope })),
            Tool::ListTasks => Ok(json!({ "tasks": tasks.of(&token.sub) })),
            Tool::AddTask => {
                tasks.add(&token.sub, &self.text.unwrap_or_default()).map(|count| json!({ "tasks": count }))
            }
        };
        match done {
            Ok(value) => json!({
                "content": [{ "type": "text", "text": value.to_string() }], "structuredContent": value,
                "isError": false,
            }),
            Err(refused) => json!({ "content": [{ "type": "text", "text": sentence(refused) }], "isError": true }),
        }
    }
}

fn sentence(refused: Refused) -> &'static str {
    match refused {
        Refused::Unfit => "A task has 1 to 500 characters.",
        Refused::Full => "No more tasks can be kept.",
    }
}
