//! Extractors for axum.
//!
//! The router's state must give a [`Guard`] by `FromRef`; `Router::with_state(guard)` does. Several extractors on one
//! handler, or an extractor below a layer of the same guard, validate the token once.

use std::marker::PhantomData;
use std::ops::Deref;

use ::axum::body::Body;
use ::axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use ::axum::response::{IntoResponse, Response};
use ::axum::routing::get;
use ::http::request::Parts;

use crate::access_token::{AccessToken, Denied};
use crate::guard::Guard;
use crate::refusal::TokenRefusal;
use crate::resource_metadata::ResourceMetadata;

/// A scope as a type; [`scope!`](crate::scope) makes one.
pub trait ScopeName: Send + Sync + 'static {
    /// The scope.
    const NAME: &'static str;
}

/// A role as a type; [`role!`](crate::role) makes one.
pub trait RoleName: Send + Sync + 'static {
    /// The role.
    const NAME: &'static str;
}

/// A permission as a type; [`permission!`](crate::permission) makes one.
pub trait PermissionName: Send + Sync + 'static {
    /// The permission.
    const NAME: &'static str;
}

/// Makes a type for a scope: `scope!(pub NotesRead = "notes.read");`
#[macro_export]
macro_rules! scope {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The scope `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::ScopeName for $name {
            const NAME: &'static str = $value;
        }
    };
}

/// Makes a type for a role: `role!(pub Admin = "admin");`
#[macro_export]
macro_rules! role {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The role `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::RoleName for $name {
            const NAME: &'static str = $value;
        }
    };
}

/// Makes a type for a permission: `permission!(pub Publish = "article:publish");`
#[macro_export]
macro_rules! permission {
    ($visibility:vis $name:ident = $value:literal) => {
        #[doc = concat!("The permission `", $value, "`.")]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;
        impl $crate::PermissionName for $name {
            const NAME: &'static str = $value;
        }
    };
}

impl<S> FromRequestParts<S> for AccessToken
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
        Guard::from_ref(state).authorize(parts).await
    }
}

/// `Option<AccessToken>` is `None` for a request without a Bearer token; a bad token is still refused.
impl<S> OptionalFromRequestParts<S> for AccessToken
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Denied> {
        match Guard::from_ref(state).authorize(parts).await {
            Ok(token) => Ok(Some(token)),
            Err(denied) if *denied.refusal() == TokenRefusal::Missing => Ok(None),
            Err(denied) => Err(denied),
        }
    }
}

macro_rules! requirement {
    ($(#[$doc:meta])* $extractor:ident, $kind:ident, $demand:ident) => {
        $(#[$doc])*
        pub struct $extractor<N> {
            /// The validated token.
            pub token: AccessToken,
            name: PhantomData<fn() -> N>,
        }

        impl<N> Deref for $extractor<N> {
            type Target = AccessToken;

            fn deref(&self) -> &AccessToken {
                &self.token
            }
        }

        impl<N> std::fmt::Debug for $extractor<N> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($extractor)).field(&self.token).finish()
            }
        }

        impl<N> Clone for $extractor<N> {
            fn clone(&self) -> Self {
                Self { token: self.token.clone(), name: PhantomData }
            }
        }

        impl<S, N: $kind> FromRequestParts<S> for $extractor<N>
        where
            Guard: FromRef<S>,
            S: Send + Sync,
        {
            type Rejection = Denied;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
                let token = Guard::from_ref(state).authorize(parts).await?;
                token.$demand(N::NAME)?;
                Ok(Self { token, name: PhantomData })
            }
        }
    };
}

requirement!(
    /// A validated token with this scope; without it 403 `insufficient_scope` that names the scope (RFC 6750 §3.1).
    RequireScope, ScopeName, require_scope
);
requirement!(
    /// A validated token with this role, by the guard's hierarchy; without it 403.
    RequireRole, RoleName, require_role
);
requirement!(
    /// A validated token with this permission; without it 403.
    RequirePermission, PermissionName, require_permission
);

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        self.to_response::<Body>()
    }
}

impl ResourceMetadata {
    /// A router that serves the document at its well-known path, for any page to read (RFC 9728 §3). Merge it outside of
    /// the guard's layers: who asks has no token yet.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> ::axum::Router<S> {
        let document = self.clone();
        ::axum::Router::new().route(&self.path(), get(move || async move { document.to_response::<Body>() }))
    }
}
