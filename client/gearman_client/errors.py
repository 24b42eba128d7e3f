"""Every exception of the client library. `GearmanError` is the base of all."""


class GearmanError(Exception):
    """Base of everything this library raises."""


class ProtocolError(GearmanError):
    """The peer sent something that is not the Gearman protocol."""
