#include "connection.h"

#include <arpa/inet.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

#include "failures.h"

namespace polybatch::internal {

namespace {

constexpr std::array<std::string_view, 2> kTlsSchemes = {"grpcs://", "https://"};
constexpr std::array<std::string_view, 4> kTargetSchemes = {"unix:", "dns:", "ipv4:", "ipv6:"};
constexpr double kDefaultWait = 120;  // seconds: longer than any restart takes
constexpr int kLastPort = 65'535;

Error refused(const std::string& reason, const std::string& message) {
  return own_error(grpc::StatusCode::FAILED_PRECONDITION, reason, message);
}

template <class Prefixes>
bool starts_with_any(std::string_view text, const Prefixes& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\f\v";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kBlank) - first + 1));
}

std::vector<std::string> split(const std::string& addresses) {
  std::vector<std::string> found;
  for (std::size_t begin = 0; begin <= addresses.size();) {
    const auto end = std::min(addresses.find(',', begin), addresses.size());
    if (auto address = trimmed(std::string_view(addresses).substr(begin, end - begin));
        !address.empty())
      found.push_back(std::move(address));
    begin = end + 1;
  }
  return found;
}

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string host_of(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  return host;
}

bool is_ip(const std::string& host) {
  in6_addr parsed{};
  return inet_pton(AF_INET, host.c_str(), &parsed) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
}

// Whether it can only be this machine.
bool is_local(const std::string& address) {
  if (address.starts_with("unix:")) return true;
  const std::string host = host_of(address);
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return host == "localhost" || host == "::1";
}

std::string bare_address(const std::string& server, const std::string& variable,
                         const std::string& address) {
  std::string_view bare = address;
  for (const std::string_view scheme :
       {std::string_view("grpc://"), kTlsSchemes[0], kTlsSchemes[1]})
    if (bare.starts_with(scheme)) bare.remove_prefix(scheme.size());
  while (bare.ends_with('/')) bare.remove_suffix(1);
  const auto colon = bare.rfind(':');
  const auto port =
      colon == std::string_view::npos ? std::nullopt : whole_number(bare.substr(colon + 1));
  const bool host_and_port = port && *port > 0 && *port <= kLastPort && colon > 0 &&
                             bare.find('/') == std::string_view::npos;
  if (!host_and_port && !starts_with_any(bare, kTargetSchemes))
    throw refused("ADDRESS_INVALID", "the " + server + " address '" + address +
                                         "' is not host:port; give an address such as "
                                         "localhost:50051, or several separated by commas (" +
                                         variable + ")");
  return std::string(bare);
}

std::vector<std::string> bare_addresses(const std::string& server, const std::string& variable,
                                        const std::string& text) {
  std::vector<std::string> found;
  for (const std::string& address : split(text)) {
    std::string bare = bare_address(server, variable, address);
    if (std::find(found.begin(), found.end(), bare) == found.end())
      found.push_back(std::move(bare));
  }
  if (found.empty()) bare_address(server, variable, text);
  return found;
}

std::filesystem::path data_dir(const Environment& environment) {
  const std::string named = environment("POLYBATCH_DATA_DIR");
  return named.empty() ? ".polybatch" : named;
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  // A folder can be opened, but not read.
  return file.is_open() && !file.bad() ? std::optional(content) : std::nullopt;
}

struct Addresses {
  std::string gateway;
  std::string collector;
};

// Where gateway and collector of this machine listen.
Addresses local_addresses(const Environment& environment) {
  const auto file = data_dir(environment) / "addresses.json";
  if (const auto text = read_file(file)) {
    google::protobuf::Struct found;
    if (google::protobuf::util::JsonStringToMessage(*text, &found).ok()) {
      const auto& fields = found.fields();
      const auto gateway = fields.find("gateway"), collector = fields.find("collector");
      if (gateway != fields.end() && collector != fields.end() &&
          gateway->second.has_string_value() && collector->second.has_string_value())
        return {gateway->second.string_value(), collector->second.string_value()};
    }
    throw refused("ADDRESSES_UNREADABLE",
                  "the file " + file.string() +
                      " does not hold the addresses of gateway and collector; start polybatch "
                      "again, which writes it, or set POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR");
  }
  const std::string named = trimmed(environment("POLYBATCH_PORT_BASE"));
  const int base = whole_number(named.empty() ? "50051" : named).value_or(0);
  if (base <= 0 || base >= kLastPort)
    throw refused("ADDRESS_INVALID",
                  "POLYBATCH_PORT_BASE is '" + named +
                      "'; set it to the first of the ports that polybatch listens on");
  return {"localhost:" + std::to_string(base), "localhost:" + std::to_string(base + 1)};
}

std::optional<bool> tls_setting(const Environment& environment) {
  std::string setting = trimmed(environment("POLYBATCH_TLS"));
  std::transform(setting.begin(), setting.end(), setting.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto is_one_of = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), setting) != words.end();
  };
  if (setting.empty()) return std::nullopt;
  if (is_one_of({"1", "true", "yes", "on"})) return true;
  if (is_one_of({"0", "false", "no", "off"})) return false;
  throw refused("TLS_SETTING_INVALID", "POLYBATCH_TLS is '" + setting + "'; set it to 1 or 0");
}

bool use_tls(std::optional<bool> asked, const std::vector<std::string>& addresses) {
  const auto named = std::find_if(
      addresses.begin(), addresses.end(),
      [](const std::string& address) { return starts_with_any(address, kTlsSchemes); });
  if (asked == false && named != addresses.end())
    throw refused("TLS_SETTING_INVALID", "TLS is turned off, but the address " + *named +
                                             " asks for it; use grpc:// in the address, or leave "
                                             "POLYBATCH_TLS at 1");
  if (asked) return *asked;
  return named != addresses.end() ||
         !std::all_of(addresses.begin(), addresses.end(), [](const std::string& address) {
           return address.starts_with("grpc://") || is_local(address);
         });
}

std::string find_key(const std::string& given, const Environment& environment) {
  std::string key = given.empty() ? environment("POLYBATCH_API_KEY") : given;
  if (key.empty()) {
    const auto path = data_dir(environment) / "api-key";
    const auto content = read_file(path);
    if (!content)
      throw refused("API_KEY_MISSING", "no API key: the key file " + path.string() +
                                           " cannot be read; set POLYBATCH_API_KEY, or "
                                           "POLYBATCH_DATA_DIR to where polybatch was started");
    key = *content;
  }
  key = trimmed(key);
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (key.empty() || !std::all_of(key.begin(), key.end(), printable))
    throw refused("API_KEY_INVALID",
                  "the API key is empty or has characters that no key has; check "
                  "POLYBATCH_API_KEY or the key file");
  return key;
}

std::chrono::milliseconds find_wait(const ClientOptions& options, const Environment& environment) {
  if (options.wait && options.wait->count() >= 0) return *options.wait;
  const std::string named = trimmed(environment("POLYBATCH_WAIT"));
  double seconds = options.wait ? -1 : kDefaultWait;
  if (!options.wait && !named.empty()) {
    const auto [end, error] = std::from_chars(named.data(), named.data() + named.size(), seconds);
    if (error != std::errc() || end != named.data() + named.size()) seconds = -1;
  }
  // A hundred years, lest the sum with a time of now does not fit.
  constexpr double kLongest = 3.2e9;
  if (!(seconds >= 0) || !std::isfinite(seconds))
    throw refused("WAIT_INVALID",
                  (options.wait ? "the wait of the options" : "'" + named + "'") +
                      " is no time to wait; give seconds from 0 on (POLYBATCH_WAIT); 0 is not to "
                      "wait at all");
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds, kLongest) * 1000));
}

}  // namespace

std::string process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Connection resolve(const ClientOptions& options, const Environment& environment) {
  const auto given_or = [&](const std::string& given, const char* name) {
    return given.empty() ? environment(name) : given;
  };
  std::string gateway = given_or(options.gateway, "POLYBATCH_GATEWAY");
  std::string collector = given_or(options.collector, "POLYBATCH_COLLECTOR");
  if (gateway.empty() || collector.empty()) {
    const Addresses here = local_addresses(environment);
    if (gateway.empty()) gateway = here.gateway;
    if (collector.empty()) collector = here.collector;
  }
  Connection found;
  found.gateway = bare_addresses("gateway", "POLYBATCH_GATEWAY", gateway);
  found.collector = bare_addresses("collector", "POLYBATCH_COLLECTOR", collector);
  std::vector<std::string> all = split(gateway);
  for (std::string& address : split(collector)) all.push_back(std::move(address));
  found.tls = use_tls(options.tls ? options.tls : tls_setting(environment), all);
  found.tls_ca = given_or(options.tls_ca, "POLYBATCH_TLS_CA");
  found.tls_client_cert = given_or(options.tls_client_cert, "POLYBATCH_TLS_CLIENT_CERT");
  found.tls_client_key = given_or(options.tls_client_key, "POLYBATCH_TLS_CLIENT_KEY");
  if (found.tls_client_cert.empty() != found.tls_client_key.empty())
    throw refused("TLS_FILE_UNUSABLE",
                  "a client certificate needs its key: set both POLYBATCH_TLS_CLIENT_CERT and "
                  "POLYBATCH_TLS_CLIENT_KEY");
  found.api_key = find_key(options.api_key, environment);
  found.wait = find_wait(options, environment);
  return found;
}

bool may_be_several(const std::string& address) {
  for (const std::string_view scheme : {"unix:", "ipv4:", "ipv6:"})
    if (address.starts_with(scheme)) return false;
  const std::string host = host_of(address);
  return host != "localhost" && !is_ip(host);
}

}  // namespace polybatch::internal
