#include "serve/chunked_framing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace flashmoe {
namespace {

// What stays of a body that comes in pieces of `size`, and "!" behind it if it is broken.
std::string kept(std::string body, size_t size) {
  ChunkedFraming framing;
  std::string out;
  for (size_t at = 0; at < body.size(); at += size) {
    out.append(&body[at], framing.keep(&body[at], std::min(size, body.size() - at)));
  }
  return framing.broken() ? out + "!" : out;
}

TEST(ChunkedFraming, TrailersAreTakenOut) {
  const std::string chunks = "5;name=\"a\"\r\nab\r\n0\r\n1A \r\n" + std::string(26, '0') + "\r\n000\r\n";
  for (const size_t size : {1, 2, 7, 1000}) {
    EXPECT_EQ(kept(chunks + "\r\n", size), chunks + "\r\n");
    EXPECT_EQ(kept(chunks + "Expires: now\r\nX-Sum: 5\r\n\r\n", size), chunks + "\r\n");
  }
}

TEST(ChunkedFraming, OtherFramingIsBroken) {
  for (const char* body : {"x\r\n", "-1\r\n", "+1\r\n", " 1\r\na\r\n", "0x1\r\na\r\n", "\r\n", "1\na\n0\n\n", "1;x\n",
                           "1\r\nab\r\n", "1\r\na\rb", "10000000000000000\r\n", "0\r\n\r\nGET", "0\r\n\rx"}) {
    EXPECT_EQ(kept(body, 1).back(), '!') << body;
  }
}

}  // namespace
}  // namespace flashmoe
