// What is made of the bytes of results: lines, or a file.

#include <fcntl.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "download.h"

namespace polybatch::internal {

namespace {

// Splits chunks at newlines; a line may span any number of them.
class Lines : public Stream<std::string>::Source {
 public:
  Lines(std::shared_ptr<Core> core, std::string batch_id, v1::ResultFilter filter,
        std::stop_token stop)
      : download_(std::move(core), std::move(batch_id), filter, std::move(stop)) {}

  bool next(std::string& line) override {
    line.clear();
    for (;;) {
      const auto end = chunk_.find('\n', at_);
      line.append(chunk_, at_, end == std::string::npos ? end : end - at_);
      if (end != std::string::npos) {
        at_ = end + 1;
        return true;
      }
      at_ = 0;
      chunk_.clear();
      if (!download_.next(chunk_)) return !line.empty();
    }
  }

 private:
  Download download_;
  std::string chunk_;
  std::size_t at_ = 0;
};

Error unwritable(const std::filesystem::path& path, const std::string& why) {
  return own_error(grpc::StatusCode::FAILED_PRECONDITION, "TARGET_UNWRITABLE",
                   "the file " + path.string() + " cannot be written (" + why +
                       "); free it or choose another one");
}

// A hidden file beside the target. It takes the target's place with `finish`, else it is removed.
class PartFile {
 public:
  explicit PartFile(std::filesystem::path target) : target_(std::move(target)) {
    // A rename would put a file in the place of a device or a pipe.
    std::error_code error;
    const auto status = std::filesystem::status(target_, error);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw unwritable(target_, "it exists and is not a regular file");
    std::uint32_t number = 0;
    if (RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof number) != 1)
      throw unwritable(target_, "OpenSSL has no random bytes");
    std::string name = ".";
    name += target_.filename().string() + "." + std::to_string(number) + ".part";
    path_ = target_.parent_path() / name;
    constexpr mode_t kAsUmaskSays = 0666;
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kAsUmaskSays);
    if (file_ < 0) throw failed();
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() {
    if (file_ >= 0) ::close(file_);
    std::error_code gone;
    if (!path_.empty()) std::filesystem::remove(path_, gone);
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_, bytes.data(), bytes.size());
      if (written >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(written));
      } else if (errno != EINTR) {
        throw failed();
      }
    }
  }

  void finish() {
    if (::fsync(file_) != 0) throw failed();
    if (::close(std::exchange(file_, -1)) != 0) throw failed();
    if (::rename(path_.c_str(), target_.c_str()) != 0) throw failed();
    path_.clear();
  }

 private:
  [[nodiscard]] Error failed() const {
    return unwritable(target_, std::generic_category().message(errno));
  }

  std::filesystem::path target_;
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace

Stream<std::string> result_lines(std::shared_ptr<Core> core, std::string batch_id,
                                 v1::ResultFilter filter, std::stop_token stop) {
  return Stream<std::string>(
      std::make_unique<Lines>(std::move(core), std::move(batch_id), filter, std::move(stop)));
}

v1::Manifest download_results(std::shared_ptr<Core> core, const std::string& batch_id,
                              const std::filesystem::path& target, std::stop_token stop) {
  PartFile file(target);
  Download download(std::move(core), batch_id, v1::RESULT_FILTER_UNSPECIFIED, std::move(stop));
  for (std::string chunk; download.next(chunk);) file.append(chunk);
  file.finish();
  return download.header().manifest();
}

}  // namespace polybatch::internal
