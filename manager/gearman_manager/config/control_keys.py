"""The section `control`: the control API on a TCP address, its callers, and other managers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, PlainValidator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gearman_manager.config import values as v
from gearman_manager.config.address import parse_header_name, parse_host, parse_path_prefix, parse_peer_url
from gearman_manager.config.section import Section, shown_default

#: What callers of the control API may do: look; change pools, functions and jobs; all.
ROLES: Final = ("viewer", "operator", "admin")
#: More managers than that are for a real monitoring.
MOST_PEERS: Final = 50
PeerAddress = Annotated[str, PlainValidator(parse_peer_url), v.schema("URL", {"type": "string"})]


class TrustedProxy(Section):
    """A proxy before the control API's TCP address, whose word counts."""

    token_file: v.FilePath = Field(
        description="A file that holds the token that the proxy shows with each request, in the header "
        "`X-Proxy-Token`. Then `X-Forwarded-For` and `X-Forwarded-Proto` count."
    )
    user_header: Annotated[str, PlainValidator(parse_header_name), v.schema("header", {"type": "string"})] | None = (
        Field(
            default=None,
            description="The header in which the proxy names the user, for a single sign-on.",
            examples=["X-Forwarded-User"],
        )
    )
    role: Annotated[str, PlainValidator(v.choice(ROLES)), v.schema("word", {"enum": list(ROLES)})] = Field(
        default="viewer",
        description="The role of users that `users_file` does not name: `viewer`, `operator` or `admin`.",
    )


class PeerManager(Section):
    """Another manager, for the page of all managers: its address alone, or a mapping."""

    url: PeerAddress = Field(
        description="The address of its `control.listen`, or of the proxy before it.", examples=["https://b:4780"]
    )
    name: v.Text | None = Field(
        default=None, description="How pages call it.", json_schema_extra=shown_default("as it calls itself")
    )
    token_file: v.FilePath | None = Field(
        default=None,
        description="A file that holds the token of its `read_token_file`.",
        json_schema_extra=shown_default("`control.peer_token_file`"),
    )
    ca_file: v.FilePath | None = Field(
        default=None,
        description="Certificates that may sign the certificate of an `https` address.",
        json_schema_extra=shown_default("the system's"),
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, data: Any) -> Any:
        return data if isinstance(data, (Mapping, PeerManager)) else {"url": data}


def _few_peers(peers: tuple[PeerManager, ...]) -> tuple[PeerManager, ...]:
    urls = [peer.url for peer in peers]
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} stands there twice")
    if len(peers) > MOST_PEERS:
        raise ValueError(f"at most {MOST_PEERS} peers are possible")
    return peers


class Control(Section):
    """The control API on a TCP address, beside its socket in the run folder."""

    listen: v.ControlAddress | None = Field(
        default=None,
        description="Serve the control API on this TCP address too; it needs a token or users.",
        examples=["127.0.0.1:4731"],
    )
    token: v.Token | None = Field(
        default=None,
        repr=False,
        description="The token of those who may do everything there: 16 characters or more, best taken from the "
        "environment.",
        examples=["${CONTROL_TOKEN}"],
    )
    token_file: v.FilePath | None = Field(
        default=None, description="A file that holds the token, instead of `token`; a reload reads it again."
    )
    read_token_file: v.FilePath | None = Field(
        default=None, description="A file that holds the token of those who may only look."
    )
    users_file: v.FilePath | None = Field(
        default=None, description="Users with roles and hashed passwords, as `gearman-manager user` writes them."
    )
    trusted_proxy: Annotated[TrustedProxy, v.is_mapping] | None = Field(
        default=None, description="A proxy before it that has TLS, or knows the users."
    )
    prefix: Annotated[str, PlainValidator(parse_path_prefix), v.schema("path", {"type": "string"})] = Field(
        default="", description="The path under which the proxy shows it.", examples=["/gearman"]
    )
    hosts: Annotated[
        tuple[Annotated[str, PlainValidator(parse_host), v.schema("host", {"type": "string"})], ...], v.one_or_several
    ] = Field(
        default=(),
        description="Names by which it is reached, beside IP addresses and names without a dot.",
        examples=[["gearman.example.com"]],
    )
    peers: Annotated[tuple[PeerManager, ...], AfterValidator(_few_peers), v.one_or_several] = Field(
        default=(),
        description="Other managers, which the page *Managers* shows beside this one. "
        "See [several managers](dashboard.md#several-managers).",
        examples=[["https://b.example.com:4780"]],
    )
    peer_token_file: v.FilePath | None = Field(
        default=None, description="A file that holds the token for peers without a `token_file` of their own."
    )
    session: v.PositiveDuration = Field(
        default=12 * 3600.0, description="How long a login lasts.", json_schema_extra=shown_default("12h")
    )

    @model_validator(mode="after")
    def _peers_have_tokens(self) -> Self:
        without = next((peer.url for peer in self.peers if (peer.token_file or self.peer_token_file) is None), None)
        if without is not None:
            raise ValueError(f"there is no token for {without}: give it a token_file, or write peer_token_file for all")
        return self
