// SHA-256 of what comes piece by piece.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <new>
#include <string>
#include <string_view>

namespace polybatch::internal {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::bad_alloc();
  }

  // OpenSSL's software digest fails only where it was not begun.
  void update(std::string_view piece) {
    EVP_DigestUpdate(context_.get(), piece.data(), piece.size());
  }

  // Returns it in lowercase hexadecimal; nothing follows.
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (unsigned int at = 0; at < size; ++at) {
      text += kDigits[digest[at] >> 4];
      text += kDigits[digest[at] & 0xf];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace polybatch::internal
