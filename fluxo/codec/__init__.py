"""
User values and events to bytes and back.

Owns: the stored forms of payloads, argument lists, errors, signals and events. Must not know stores, runs or engines.
Payloads are data: nothing stored is ever executed, imported or followed to a class (DESIGN §1.10).
"""

from fluxo.codec.arguments import ArgumentsCodec
from fluxo.codec.failure import error_of, failure_of
from fluxo.codec.payload import ANY, TypeCodec, codec_for

__all__ = ["ANY", "ArgumentsCodec", "TypeCodec", "codec_for", "error_of", "failure_of"]
