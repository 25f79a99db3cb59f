#include "support/test_data.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace flashmoe {

std::string read_test_data(const std::string& name) {
  const std::string path = std::string(FLASHMOE_TEST_DATA) + "/" + name;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace flashmoe
