"""gRPC server plumbing: lifecycle, health, reflection, interceptors, the process's main."""

from core.serving.api_error import ApiError
from core.serving.auth import Authenticate
from core.serving.concurrency import ConcurrencyLimits
from core.serving.data_folder import data_folder_lock, usable_data_folder
from core.serving.logs import configure_logging
from core.serving.memory import tune_memory
from core.serving.principal import Principal, current_principal, require_scope
from core.serving.process import StartupError, run
from core.serving.server import SERVER_OPTIONS, GrpcServer, ListenError, Register
from core.serving.tls import Identity, TlsError, TlsFiles
