// The browser page: the files of apps/serve/page, built into the binary.
#pragma once

#include <span>
#include <string_view>

namespace flashmoe {

struct PageFile {
  std::string_view path;  // "/index.html"
  std::string_view type;  // "text/html; charset=utf-8"
  std::string_view bytes;
};

std::span<const PageFile> page_files();
// "/" is "/index.html"; null for a path that is no file of the page.
const PageFile* find_page_file(std::string_view path);

}  // namespace flashmoe
