"""Which providers there are, and which of them can be reached with the keys at hand.

They come from three places: those that are built in, those of the providers file, and
those of installed packages with an entry point in the group "polybatch.providers".
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint, EntryPoints, entry_points

from core.providers.builtin import built_in
from core.providers.configured import read_providers_file
from core.providers.contract import Provider
from core.providers.direct.contract import DirectProvider
from core.providers.http.holds import CredentialHold, Holds
from core.providers.inference import providers_of
from core.providers.plugin import BadProviderConfig, Check, Opening, PlainBody, ProviderPlugin
from core.settings import ProviderAccess, Settings

ENTRY_POINT_GROUP = "polybatch.providers"
_CREDENTIAL_CHARS = 12


class KnownProviders:
    """All providers of this installation, with a key or without."""

    def __init__(
        self, plugins: Iterable[ProviderPlugin], secret: Callable[[str], str], settings: Settings
    ) -> None:
        """`secret`: the value of an environment variable, without white space around it;
        empty if it is not set.

        Raises BadProviderConfig if two have the same name, or if a key is unusable.
        """
        self._plugins: dict[str, ProviderPlugin] = {}
        self._keys: dict[str, str] = {}
        for plugin in plugins:
            if plugin.slug in self._plugins:
                raise BadProviderConfig(
                    f"there are two providers of the name {plugin.slug!r}: "
                    "rename the one of the providers file or of the plug-in"
                )
            self._plugins[plugin.slug] = plugin
            if plugin.key_variable and (key := secret(plugin.key_variable)):
                self._keys[plugin.slug] = _clean(plugin.key_variable, key)
        self._settings = settings
        self.holds = Holds()
        """Until when they want no call; all adapters that are opened here heed it."""

    @property
    def rules(self) -> Mapping[str, frozenset[str]]:
        """Endpoints by provider slug."""
        return {slug: plugin.endpoints for slug, plugin in self._plugins.items()}

    @property
    def checks(self) -> Mapping[str, Check]:
        """What some of them ask of each request, by provider slug."""
        return {slug: plugin.check for slug, plugin in self._plugins.items() if plugin.check}

    @property
    def plain(self) -> Mapping[str, PlainBody]:
        """Short ways of those checks, by provider slug."""
        return {slug: plugin.plain for slug, plugin in self._plugins.items() if plugin.plain}

    @property
    def own_plain(self) -> Mapping[str, PlainBody]:
        """The same for requests in a provider's own form."""
        return {slug: each.own_plain for slug, each in self._plugins.items() if each.own_plain}

    def infer(self, model: str, url: str) -> Sequence[str]:
        """Whose model it may be, for a line that names no provider.

        Of several, those that can be reached with the keys at hand.
        """
        found = providers_of(model, url, self._plugins.values())
        return [slug for slug in found if slug in self.usable] or found

    @property
    def missing_keys(self) -> dict[str, str]:
        """Providers without a key, with the variable that would hold it."""
        return {
            slug: plugin.key_variable
            for slug, plugin in self._plugins.items()
            if plugin.key_variable and slug not in self._keys
        }

    @property
    def key_variables(self) -> dict[str, str]:
        """The variable that holds the key of each provider that needs one."""
        return {
            slug: plugin.key_variable
            for slug, plugin in self._plugins.items()
            if plugin.key_variable
        }

    @property
    def line_by_line(self) -> frozenset[str]:
        """Those without batches: each of their lines is a real-time call."""
        return frozenset(slug for slug, plugin in self._plugins.items() if plugin.open_direct)

    @property
    def call_endpoints(self) -> dict[str, frozenset[str]]:
        """Of those with batches that can be reached: what they can be called for line by line."""
        return {
            slug: self._plugins[slug].call_endpoints
            for slug in self.usable
            if self._plugins[slug].open_calls
        }

    @property
    def usable(self) -> list[str]:
        """Providers that have their key, or need none."""
        return [slug for slug in self._plugins if slug not in self.missing_keys]

    @property
    def credentials(self) -> Mapping[str, str]:
        """Names of the keys in use, by provider slug: another one for another key or address.

        Nothing of a key can be told from its name.
        """
        return {
            slug: hashlib.sha256(f"{slug} {self._plugins[slug].scope} {key}".encode()).hexdigest()[
                :_CREDENTIAL_CHARS
            ]
            for slug, key in self._keys.items()
        }

    def open(self) -> dict[str, Provider]:
        """The adapters of the usable ones that have batches. The caller closes each of them."""
        return {
            slug: open_one(self._opening(slug))
            for slug in self.usable
            if (open_one := self._plugins[slug].open)
        }

    def open_direct(self) -> dict[str, DirectProvider]:
        """The adapters of the usable ones without. The caller closes each of them."""
        return {
            slug: open_one(self._opening(slug))
            for slug in self.usable
            if (open_one := self._plugins[slug].open_direct)
        }

    def open_calls(self) -> dict[str, DirectProvider]:
        """The real-time endpoints of the usable ones that have batches. The caller closes them."""
        return {
            slug: open_one(self._opening(slug))
            for slug in self.usable
            if (open_one := self._plugins[slug].open_calls)
        }

    def hold(self, slug: str) -> CredentialHold:
        """Until when a provider wants no call with today's key, or none is worth it."""
        holder = self._holder(slug)
        return self.holds.of(holder, self.credentials.get(holder, ""))

    def _holder(self, slug: str) -> str:
        """Whose hold is a provider's as well: they count by key, whatever it is called here."""
        key = self._keys.get(slug)
        for other in self._plugins if key else ():
            same = (self._plugins[other].scope, self._keys.get(other))
            if same == (self._plugins[slug].scope, key):
                return other
        return slug

    def _opening(self, slug: str) -> Opening:
        return Opening(
            key=self._keys.get(slug, ""),
            timeout=self._settings.provider_timeout,
            settle=timedelta(seconds=self._settings.reconcile_settle),
            calls_at_once=self._settings.rescue_concurrency,
            hold=self.hold(slug),
        )


@functools.cache
def plug_in_names(_path: tuple[str, ...]) -> EntryPoints:
    """Where installed packages keep their plug-ins; nothing of them is imported.

    `_path`: sys.path. The metadata of all that is installed are read for it, once for a path.
    """
    return entry_points(group=ENTRY_POINT_GROUP)


def known_providers(access: ProviderAccess, settings: Settings) -> KnownProviders:
    """Find all providers. Raises BadProviderConfig."""
    plugins = [*built_in(access), *_configured(settings), *_installed()]
    return KnownProviders(plugins, access.secret, settings)


def _configured(settings: Settings) -> Iterable[ProviderPlugin]:
    path = settings.effective_providers_file
    # The default place may be empty; a place that was named must not be.
    if settings.providers_file is None and not path.exists():
        return ()
    return read_providers_file(path)


def _installed() -> Iterable[ProviderPlugin]:
    return [_load(entry) for entry in plug_in_names(tuple(sys.path))]


def _load(entry: EntryPoint) -> ProviderPlugin:
    try:
        plugin = entry.load()
    except Exception as error:
        # Whatever a third party's module raises when it is imported.
        raise BadProviderConfig(
            f"the plug-in {entry.name} ({entry.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(plugin, ProviderPlugin):
        raise BadProviderConfig(
            f"the plug-in {entry.name} ({entry.value}) is a {type(plugin).__name__}, "
            "expected a core.providers.ProviderPlugin"
        )
    return plugin


def _clean(variable: str, key: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        # The key itself is never shown.
        raise BadProviderConfig(
            f"{variable} is not a usable API key: expected printable ASCII, no spaces"
        )
    return key
