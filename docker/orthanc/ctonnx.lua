-- Sends each stable CT series from Orthanc to a DICOM node of ctonnx, which sends its results back.
--
-- In Orthanc's configuration:
--   "LuaScripts" : [ "/etc/orthanc/ctonnx.lua" ],
--   "DicomModalities" : { "ctonnx" : [ "CTONNX", "127.0.0.1", 11112 ] }
--
-- A series is stable if no instance came for "StableAge" seconds. The name of the modality, `ctonnx`, is the one of
-- "DicomModalities". Results are not sent again: they are no CT, and their Manufacturer is ctonnx. If the node is not
-- there, the job fails, and is started again by: curl -X POST http://127.0.0.1:8042/jobs/ID/resubmit

local MODALITY = 'ctonnx'
local MANUFACTURER = 'ctonnx'

function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] ~= 'CT' or tags['Manufacturer'] == MANUFACTURER then
    return
  end
  -- As a job, which Orthanc does in the background. Its Lua function SendToModality takes single instances only.
  RestApiPost('/modalities/' .. MODALITY .. '/store', DumpJson({ Resources = { seriesId }, Synchronous = false }, true))
end
