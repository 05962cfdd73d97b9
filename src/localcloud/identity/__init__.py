"""Who is calling? Identity tokens, access tokens and service account keys, with signatures that anybody can check.

Covered: OpenID Connect identity tokens as Google issues them to service accounts (RS256; the certificates at
`/oauth2/v1/certs` and `/oauth2/v3/certs`), checked for signature, issuer, audience and, by the virtual clock, expiry;
access tokens; service account keys as JSON credentials and their JWT-bearer grant at `/token`, for both kinds of token;
each account's certificates at `/robot/v1/metadata/x509/<email>`; of the IAM Credentials API `generateAccessToken`,
`generateIdToken`, `signBlob` and `signJwt`; of the IAM API the creation of a key.
Not covered: who may do what (any account may get a token for any other), users and their refresh tokens, revocation,
more than one key per account, workload identity federation. An account exists as soon as somebody names it.

https://cloud.google.com/docs/authentication/token-types
"""

from localcloud.identity.errors import InvalidToken
from localcloud.identity.tokens import CLOUD_PLATFORM, ISSUER, LIFETIME_S, Identity

__all__ = ["CLOUD_PLATFORM", "ISSUER", "LIFETIME_S", "Identity", "InvalidToken"]
