// The report as a page for people: tables and plots, one file that opens without a network.
#ifndef TRANSMLA_ENGINE_CONVERT_REPORT_PAGE_H_
#define TRANSMLA_ENGINE_CONVERT_REPORT_PAGE_H_

#include <string>

#include "engine/convert/report.h"

namespace transmla {

// HTML with its plots as SVG inside. What was not measured is left out. Texts of the report, file
// names among them, are escaped.
std::string ReportPage(const ConversionReport& report);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_REPORT_PAGE_H_
